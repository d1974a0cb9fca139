"""The table of a comparison: one row a case, measured beside predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from torch import Tensor

from distill.comparison import Comparison, Students
from distill.decode import Likeness, decode_operator, likeness, noise_bank
from distill.jobs import Case
from experiment.write import write_rows
from planner.budget import BudgetKind
from planner.value import w2_squared

# Students are float32: where a simulated spread falls below this, rounding is what is measured.
STUDENT_ROUNDING = 1e-6


@dataclass(frozen=True)
class ResultRow:
    """One strategy at one stage, under one budget, on one seed's batches."""

    strategy: str
    budget: BudgetKind
    epochs: int  # gradient steps a merge; under total, of a plan of T - 1 merges
    seed: int
    engine: str  # sgd or exact
    inputs: str  # gaussian or latents
    w2_squared: float  # measured student to the surrogate
    w2_squared_predicted: float  # closed form with the expected shrinkage
    w2_squared_expected: float  # mean over simulated training runs
    w2_squared_spread: float  # standard deviation over simulated training runs
    largest_deviation: float  # over coordinates, |measured - expected| in spreads
    rms_deviation: float  # root mean square of the same; about 1 if the theory holds
    w2_squared_to_composite: float  # measured student to the teacher's true composite
    w2_squared_to_data: float  # measured student to sqrt(lambda), the scale of the data
    pixel_l2: float  # mean over images of the distance to the surrogate teacher's
    pixel_l2_low: float  # 95 % bootstrap interval of that mean, over the shared noise
    pixel_l2_high: float
    ssim: float  # mean over images, to the surrogate teacher's
    merges: int  # of the coordinate that makes most
    rounds: int  # of merges that wait for each other
    gradient_steps: int  # of all merges together
    seconds: float  # of training


def tabulate(comparison: Comparison, num_images: int, seed: int) -> list[ResultRow]:
    """Rows in the order of the cases; images of the seed's noise bank, the same for all."""
    z_T = noise_bank(seed, 0, num_images, len(comparison.mean))

    def decode(operator: np.ndarray) -> Tensor:
        return decode_operator(comparison.model, operator, comparison.mean, z_T)

    teacher = decode(comparison.problem.surrogate)
    likenesses: dict[int, Likeness] = {}  # cases of one job share their students
    for students in comparison.students.values():
        if id(students) not in likenesses:
            likenesses[id(students)] = likeness(decode(students.operator), teacher)
    return [
        _row(comparison, case, students, likenesses[id(students)])
        for case, students in comparison.students.items()
    ]


def _row(comparison: Comparison, case: Case, students: Students, images: Likeness) -> ResultRow:
    problem = comparison.problem
    spread = np.hypot(students.spread, STUDENT_ROUNDING)
    deviations = (students.operator - students.expected) / spread

    def distance(target: np.ndarray) -> float:
        return float(w2_squared(students.operator, target))

    return ResultRow(
        strategy=case.strategy,
        budget=case.budget,
        epochs=case.epochs,
        seed=case.seed,
        engine=students.engine,
        inputs=comparison.inputs,
        w2_squared=distance(problem.surrogate),
        w2_squared_predicted=float(w2_squared(students.predicted, problem.surrogate)),
        w2_squared_expected=float(students.w2_squared_runs.mean()),
        w2_squared_spread=float(students.w2_squared_runs.std(ddof=1)),
        largest_deviation=float(np.abs(deviations).max()),
        rms_deviation=float(np.sqrt(np.square(deviations).mean())),
        w2_squared_to_composite=distance(problem.operators.prod(axis=0)),
        w2_squared_to_data=distance(np.sqrt(problem.variances)),
        pixel_l2=images.l2,
        pixel_l2_low=images.l2_low,
        pixel_l2_high=images.l2_high,
        ssim=images.ssim,
        merges=students.merges,
        rounds=students.rounds,
        gradient_steps=students.gradient_steps,
        seconds=students.seconds,
    )


def write_results(path: Path, rows: list[ResultRow]) -> None:
    """Write the rows as CSV, floats in full precision."""
    write_rows(path, rows, ResultRow)


def over_seeds(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """One row a strategy, budget and stage: numbers are means over seeds, the seed is the first."""
    together: dict[tuple, list[ResultRow]] = {}
    for row in rows:
        together.setdefault((row.budget, row.epochs, row.strategy), []).append(row)
    return [_mean(same) for same in together.values()]


def _mean(rows: list[ResultRow]) -> ResultRow:
    fields = vars(rows[0])
    means = {
        name: fmean(getattr(row, name) for row in rows)
        for name, value in fields.items()
        if isinstance(value, float)
    }
    return ResultRow(**(fields | means))
