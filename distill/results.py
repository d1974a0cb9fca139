"""The table of a comparison: one row per case, measured beside predicted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from torch import Tensor

from distill.comparison import Comparison
from distill.config import RECORDED_ENGINE, RECORDED_STEPS, Engine
from distill.decode import Likeness, decode_operator, likeness, noise_bank
from distill.jobs import Case, Students
from planner.budget import BudgetKind, Stage
from planner.value import OPERATOR_ROUNDING, w2_squared

# Students are float32. Where a simulated spread is below this, deviations measure the rounding.
STUDENT_ROUNDING = 1e-6


def operator_rounding(engine: Engine) -> float:
    """Relative rounding of the operators that an engine gives."""
    return STUDENT_ROUNDING if engine == "sgd" else OPERATOR_ROUNDING


@dataclass(frozen=True)
class ResultRow:
    """One strategy at one stage, on the batches of one seed: a row of ``results.csv``."""

    strategy: str
    budget: BudgetKind
    steps_per_merge: int = field(metadata=RECORDED_STEPS)
    """Training length of the stage; see ``planner.budget.Stage``."""
    seed: int
    engine: Engine = field(metadata=RECORDED_ENGINE)
    inputs: str
    """gaussian or latents."""
    w2_squared: float
    """Squared W2 of the measured student to the target: the surrogate, or for denoisers the
    composite."""
    w2_squared_predicted: float
    """Squared W2 in closed form, with the expected shrinkage."""
    w2_squared_expected: float
    """Mean of the squared W2 over simulated training runs."""
    w2_squared_spread: float
    """Standard deviation of the squared W2 over simulated training runs."""
    largest_deviation: float
    """Largest |measured - expected operator| over coordinates, in spreads of that coordinate."""
    rms_deviation: float
    """Root mean square of these deviations; about 1 if the theory holds."""
    w2_squared_to_composite: float
    """Squared W2 of the measured student to the composite."""
    w2_squared_to_data: float
    """Squared W2 of the measured student to sqrt(lambda), the scale of the data."""
    pixel_l2: float | None
    """Distance to the target's image, mean over images. Without a VAE there are no images."""
    pixel_l2_low: float | None
    """Lower end of the 95 % bootstrap interval of that mean, over the shared noise."""
    pixel_l2_high: float | None
    """Upper end of the interval."""
    ssim: float | None
    """Similarity to the target's image, mean over images."""
    merges: int
    """Merges of the coordinate that makes most, over all steps of its student."""
    rounds: int
    """Rounds of merges that wait for each other."""
    gradient_steps: int
    """Gradient steps over all merges, of the coordinate that takes most."""
    seconds: float
    """Duration of the training."""
    student_steps: int
    """K, the steps of the student."""
    dimensions: int
    """d, the number of latent coordinates."""

    @property
    def stage(self) -> Stage:
        """Budget, training length and K."""
        return Stage(self.budget, self.steps_per_merge, self.student_steps)


def tabulate(comparison: Comparison, num_images: int, seed: int) -> list[ResultRow]:
    """One row per case, in their order.

    Args:
        num_images: Images that are decoded per case, from the same noise for all.
        seed: Number of the noise bank.
    """
    likenesses = _likenesses(comparison, num_images, seed)
    return [
        _row(comparison, case, students, likenesses.get(id(students)))
        for case, students in comparison.students.items()
    ]


def _likenesses(comparison: Comparison, num_images: int, seed: int) -> dict[int, Likeness]:
    """How close the images of students are to the target's, by ``id``; none without a VAE."""
    model, mean, rotation = comparison.model, comparison.mean, comparison.rotation
    if model is None:
        return {}
    z_T = noise_bank(seed, 0, num_images, len(mean))

    def decode(operator: np.ndarray) -> Tensor:
        on_noise = comparison.problem.on_unit_noise(operator)
        return decode_operator(model, on_noise, mean, z_T, rotation)

    target = decode(comparison.problem.target)
    likenesses: dict[int, Likeness] = {}  # cases of one job share their students
    for students in comparison.students.values():
        if id(students) not in likenesses:
            likenesses[id(students)] = likeness(decode(students.operator), target)
    return likenesses


def _row(
    comparison: Comparison, case: Case, students: Students, images: Likeness | None
) -> ResultRow:
    problem = comparison.problem
    spread = np.hypot(students.spread, STUDENT_ROUNDING)
    outputs = problem.on_unit_noise(students.operator)
    deviations = (students.operator - students.expected) / spread

    def distance(target: np.ndarray) -> float:
        return float(problem.distance(students.operator, target))

    return ResultRow(
        strategy=case.strategy,
        budget=case.stage.budget,
        steps_per_merge=case.stage.steps_per_merge,
        seed=case.seed,
        engine=students.engine,
        inputs=comparison.inputs,
        w2_squared=distance(problem.target),
        w2_squared_predicted=float(problem.distance(students.predicted, problem.target)),
        w2_squared_expected=float(students.w2_squared_runs.mean()),
        w2_squared_spread=float(students.w2_squared_runs.std(ddof=1)),
        largest_deviation=float(np.abs(deviations).max()),
        rms_deviation=float(np.sqrt(np.square(deviations).mean())),
        w2_squared_to_composite=distance(problem.operators.prod(axis=0)),
        w2_squared_to_data=float(w2_squared(outputs, np.sqrt(problem.variances))),
        pixel_l2=None if images is None else images.l2,
        pixel_l2_low=None if images is None else images.l2_low,
        pixel_l2_high=None if images is None else images.l2_high,
        ssim=None if images is None else images.ssim,
        merges=students.merges,
        rounds=students.rounds,
        gradient_steps=students.gradient_steps,
        seconds=students.seconds,
        student_steps=case.stage.student_steps,
        dimensions=len(comparison.mean),
    )


def over_seeds(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """One row per strategy and stage: floats are means over seeds, the rest is the first seed's."""
    together: dict[tuple, list[ResultRow]] = {}
    for row in rows:
        together.setdefault((row.stage, row.strategy), []).append(row)
    return [_mean(same) for same in together.values()]


def _mean(rows: list[ResultRow]) -> ResultRow:
    fields = vars(rows[0])
    means = {
        name: fmean(getattr(row, name) for row in rows)
        for name, value in fields.items()
        if isinstance(value, float)
    }
    return ResultRow(**(fields | means))
