"""The table of a comparison: one row per strategy and stage, measured beside predicted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from distill.compare import Comparison
from distill.decode import PixelDistance, decode_operator, distance_to_teacher, noise_bank
from distill.students import Students
from planner.value import w2_squared
from vae.files import write_rows

# Students are float32: where a simulated spread falls below this, rounding is what is measured.
ROUNDING = 1e-6


@dataclass(frozen=True)
class ResultRow:
    """One strategy at one stage."""

    strategy: str
    epochs: int  # gradient steps a merge
    w2_squared: float  # measured student to the surrogate
    w2_squared_predicted: float  # closed form with the expected shrinkage
    w2_squared_expected: float  # mean over simulated training runs
    w2_squared_spread: float  # standard deviation over simulated training runs
    largest_deviation: float  # over coordinates, |measured - expected| in spreads
    rms_deviation: float  # root mean square of the same; about 1 if the theory holds
    pixel_l2: float  # mean over images to the surrogate teacher's
    pixel_l2_standard_error: float
    merges: int
    rounds: int
    gradient_steps: int  # one after the other
    seconds: float
    inputs: str  # gaussian or latents


def tabulate(comparison: Comparison, num_images: int, seed: int) -> list[ResultRow]:
    """Rows in the order trained; pixel distances over ``num_images`` of the seed's noise bank."""
    z_T = noise_bank(seed, 0, num_images, len(comparison.mean))

    def decode(operator: np.ndarray) -> Tensor:
        return decode_operator(comparison.model, operator, comparison.mean, z_T)

    teacher = decode(comparison.problem.surrogate)
    return [
        _row(comparison, students, distance_to_teacher(decode(students.operator), teacher))
        for students in comparison.students
    ]


def _row(comparison: Comparison, students: Students, distance: PixelDistance) -> ResultRow:
    surrogate = comparison.problem.surrogate
    spread = np.hypot(students.spread, ROUNDING)
    deviations = (students.operator - students.expected) / spread
    return ResultRow(
        strategy=students.strategy,
        epochs=students.epochs,
        w2_squared=float(w2_squared(students.operator, surrogate)),
        w2_squared_predicted=float(w2_squared(students.predicted, surrogate)),
        w2_squared_expected=float(students.w2_squared_runs.mean()),
        w2_squared_spread=float(students.w2_squared_runs.std(ddof=1)),
        largest_deviation=float(np.abs(deviations).max()),
        rms_deviation=float(np.sqrt(np.square(deviations).mean())),
        pixel_l2=distance.mean,
        pixel_l2_standard_error=distance.standard_error,
        merges=students.merges,
        rounds=students.rounds,
        gradient_steps=students.rounds * students.epochs,
        seconds=students.seconds,
        inputs=comparison.inputs,
    )


def write_results(path: Path, rows: list[ResultRow]) -> None:
    """Write the rows as CSV, floats in full precision."""
    write_rows(path, rows, ResultRow)
