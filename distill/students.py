"""Trained students as results: measured operators beside their prediction, on disk."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reading.files import finite_text, reading
from vae.tensors import fact, pick, read_tensors, whole_number, write_tensors

Array = NDArray[np.float64]
KIND = "mergelab students, format 2"
_ARRAYS = ("operator", "predicted", "expected", "spread", "w2_squared_runs")


@dataclass(frozen=True, eq=False)
class Students:
    """The one-step student that one job of training ends with."""

    engine: str  # sgd or exact
    merges: int  # of the coordinate that makes most
    rounds: int  # of merges that wait for each other
    gradient_steps: int  # of all merges together, of the coordinate that takes most
    seconds: float  # of training
    operator: Array  # measured, (d,)
    predicted: Array  # closed form with the expected shrinkage, (d,)
    expected: Array  # mean over simulated runs, (d,)
    spread: Array  # standard deviation over simulated runs, (d,)
    w2_squared_runs: Array  # to the surrogate, of each simulated run


def save_students(path: Path, students: Students) -> None:
    """Write them, whole or not at all."""
    facts = asdict(students)
    tensors = {name: torch.from_numpy(facts.pop(name)) for name in _ARRAYS}
    metadata = {name: str(value) for name, value in facts.items()}
    write_tensors(path, tensors, {"kind": KIND} | metadata)


def load_students(path: Path) -> Students:
    """Read what ``save_students`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable, damaged or incomplete.
    """
    tensors, metadata = read_tensors(path, KIND)
    with reading(path, "whole students", "remove it and run again"):
        width = len(pick(tensors, "operator", torch.float64, (None,)))
        shapes = dict.fromkeys(_ARRAYS, (width,)) | {"w2_squared_runs": (None,)}
        found = {name: pick(tensors, name, torch.float64, shapes[name]) for name in _ARRAYS}
        for name in ("spread", "w2_squared_runs"):
            if (found[name] < 0).any():
                raise ValueError(f"{name} must be at least 0")
        if not width or len(found["w2_squared_runs"]) < 2:
            raise ValueError("no coordinate, or fewer than two simulated runs")
        return Students(
            engine=fact(metadata, "engine"),
            merges=whole_number(metadata, "merges"),
            rounds=whole_number(metadata, "rounds"),
            gradient_steps=whole_number(metadata, "gradient_steps"),
            seconds=finite_text(fact(metadata, "seconds"), "seconds", least=0.0),
            operator=found["operator"].numpy(),
            predicted=found["predicted"].numpy(),
            expected=found["expected"].numpy(),
            spread=found["spread"].numpy(),
            w2_squared_runs=found["w2_squared_runs"].numpy(),
        )
