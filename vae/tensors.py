"""Tensors as files: checked safetensors, and checkpoints that can run no code."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reading.files import reading, shown
from vae.files import write_atomically


def write_checkpoint(path: Path, content: dict[str, object]) -> None:
    """Write state dicts and plain values for ``read_checkpoint``, whole or not at all."""
    buffer = io.BytesIO()  # torch's own file writer hides why it fails
    torch.save(content, buffer)
    write_atomically(path, lambda target: target.write_bytes(buffer.getbuffer()))


def read_checkpoint(path: Path) -> Any:  # noqa: ANN401
    """What ``write_checkpoint`` wrote, or any other file that torch reads, on the CPU.

    It can run no code. To be called within ``reading``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; it is left alone.
    """
    data = path.read_bytes()
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive of pickles makes torch raise nearly anything
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(first) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors, whole or not at all; the same content gives the same bytes."""
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    data = _with_sorted_header(data)
    write_atomically(path, lambda target: target.write_bytes(data))


def _with_sorted_header(data: bytes) -> bytes:
    """The library writes metadata in random order, which would change the file's SHA-256."""
    start = 8 + int.from_bytes(data[:8], "little")  # the header's length, the header, the tensors
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[start:]


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file whose metadata says ``kind``.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: it is truncated, not safetensors, or of another kind.
    """
    mend = f"expected {kind} here: make or copy it again"
    # The last two are torch's own, of sizes that no tensor has.
    damage = (SafetensorError, TypeError, RuntimeError)
    with (
        reading(path, "a whole safetensors file", mend, also=damage),
        safe_open(path, framework="pt", device="cpu") as file,
    ):
        metadata = file.metadata() or {}
        # keys() lists the tensors; the handle itself is no mapping.
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("kind") != kind:
        found = shown(metadata["kind"]) if "kind" in metadata else "something unnamed"
        raise ValueError(f"{path}: holds {found}, expected {kind}; give another file")
    return tensors, metadata


def pick(
    tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, shape: Sequence[int | None]
) -> Tensor:
    """A tensor of a file, which must be of that type and shape, and finite.

    Args:
        shape: A size a dimension; None where any will do.

    Raises:
        ValueError: it is missing, or another.
    """
    if name not in tensors:
        raise ValueError(f"lacks {name}")
    found = tensors[name]
    fits = len(found.shape) == len(shape) and all(
        asked in (None, size) for size, asked in zip(found.shape, shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} is {found.dtype} of shape {tuple(found.shape)}, must be {dtype} of ({sizes})"
        )
    if not found.isfinite().all():
        raise ValueError(f"{name} must have finite values")
    return found


def fact(metadata: Mapping[str, str], name: str) -> str:
    """The fact ``name`` of a file, which must be there."""
    if name not in metadata:
        raise ValueError(f"lacks {name}")
    return metadata[name]


def whole_number(metadata: Mapping[str, str], name: str, least: int = 0) -> int:
    """The same as a whole number not below ``least``."""
    text = fact(metadata, name)
    if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
        raise ValueError(f"{name} is {shown(text)}, must be a whole number of at least {least}")
    return int(text)
