"""Trained students as results: measured operators beside their prediction, on disk."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vae.files import read_tensors, write_tensors

Array = NDArray[np.float64]
KIND = "mergelab students, format 1"
_NUMBERS = {"epochs": int, "merges": int, "rounds": int, "seconds": float}
_ARRAYS = ("operator", "predicted", "expected", "spread", "w2_squared_runs")


@dataclass(frozen=True, eq=False)
class Students:
    """One strategy's one-step student after one stage of training."""

    strategy: str
    epochs: int  # gradient steps a merge
    merges: int  # of the coordinate that makes most
    rounds: int  # of merges that wait for each other
    seconds: float  # of training
    operator: Array  # measured, (d,)
    predicted: Array  # closed form with the expected shrinkage, (d,)
    expected: Array  # mean over simulated runs, (d,)
    spread: Array  # standard deviation over simulated runs, (d,)
    w2_squared_runs: Array  # to the surrogate, of each simulated run

    def file_name(self) -> str:
        """Name of the file in a run's students/ folder."""
        return students_file(self.strategy, self.epochs)


def students_file(strategy: str, epochs: int) -> str:
    """Name of the file that holds this strategy's students of this stage."""
    return f"{strategy}_{epochs}.safetensors"


def save_students(folder: Path, students: Students) -> None:
    """Write one strategy's stage, whole or not at all."""
    facts = asdict(students)
    tensors = {name: torch.from_numpy(facts.pop(name)) for name in _ARRAYS}
    metadata = {name: str(value) for name, value in facts.items()}
    write_tensors(folder / students.file_name(), tensors, {"kind": KIND} | metadata)


def load_students(path: Path) -> Students:
    """Read one strategy's stage.

    Raises:
        FileNotFoundError, ValueError: missing, damaged or incomplete.
    """
    tensors, metadata = read_tensors(path, KIND)
    try:
        numbers = {name: cast(metadata[name]) for name, cast in _NUMBERS.items()}
        arrays = {name: tensors[name].numpy() for name in _ARRAYS}
        return Students(strategy=metadata["strategy"], **numbers, **arrays)
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}; remove it and run again") from error
