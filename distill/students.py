"""Trained students as results: measured operators beside their prediction, on disk."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vae.files import read_tensors, write_tensors

Array = NDArray[np.float64]
KIND = "mergelab students, format 2"
_NUMBERS = {"merges": int, "rounds": int, "gradient_steps": int, "seconds": float}
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
        FileNotFoundError, ValueError: missing, damaged or incomplete.
    """
    tensors, metadata = read_tensors(path, KIND)
    try:
        numbers = {name: cast(metadata[name]) for name, cast in _NUMBERS.items()}
        arrays = {name: tensors[name].numpy() for name in _ARRAYS}
        return Students(engine=metadata["engine"], **numbers, **arrays)
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}; remove it and run again") from error
