"""Networks as ``torch.export`` programs: files that run without the code that made them."""

import copy
import io
from pathlib import Path

import torch
from torch import nn

from experiment.write import write_atomically


def write_program(path: Path, network: nn.Module, width: int) -> None:
    """Write what ``network`` makes of rows (B, width) float32, for any B, completely or not at all.

    Read it with ``torch.export.load(path).module()``.
    """
    # The memory layout of weights does not travel; a copy in the plain one changes no value.
    plain = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    # B = 2 stands for any B: torch.export takes sizes 0 and 1 for fixed ones.
    rows = torch.export.Dim("rows")
    program = torch.export.export(plain, (torch.zeros(2, width),), dynamic_shapes=({0: rows},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomically(path, lambda target: target.write_bytes(buffer.getbuffer()))
