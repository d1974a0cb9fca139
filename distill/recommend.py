"""What a comparison advises: which strategy to take, and whether the paper's claim holds.

The claim is that sequential BOOT ends closest to the surrogate of the paper's four strategies.
Training is random and computers round, so neither question is decided by a difference that small:
values tie if they differ by no more than rounding explains (``lowest_of``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.config import RECORDED_STEPS
from distill.results import ResultRow, operator_rounding
from experiment.write import as_recorded, write_json
from planner.budget import BudgetKind, Stage
from planner.strategies import CANONICAL
from planner.value import tied_with_lowest

# Expected W2 this close to the best is as good: no image shows it, and fewer merges are less work.
AS_GOOD = 1e-3
PIXEL_ROUNDING = 1e-3  # rounding of an L2 norm: decoding is float32
BOOT = "sequential_boot"


@dataclass(frozen=True)
class Recommendation:
    """The strategy to take at one stage."""

    budget: BudgetKind
    steps_per_merge: int = field(metadata=RECORDED_STEPS)
    strategy: str
    """Among the strategies as good as the best, the one of fewest merges."""
    gradient_steps: int
    """Gradient steps over all merges of that strategy."""
    expected_w2: float
    """W2 of that strategy to the target: the root of the mean of W2**2 over training runs."""
    as_good: tuple[str, ...]
    """Other strategies whose expected W2 is within ``AS_GOOD`` of the best."""
    next_best: str | None
    """The best of all other strategies; None where there is no other."""
    next_expected_w2: float | None
    advantage: float | None
    """Share of the next best's expected W2 by which that of the strategy is lower."""
    all_as_good: bool
    """Whether all strategies are as good as the best."""
    equal_within_rounding: bool
    """Whether no strategy differs from the best by more than rounding explains."""
    student_steps: int
    """K, the steps of the student."""

    @property
    def stage(self) -> Stage:
        """Budget, training length and K."""
        return Stage(self.budget, self.steps_per_merge, self.student_steps)

    @property
    def expected_w2_squared(self) -> float:
        """W2**2, as the report gives it: the mean over training runs."""
        return self.expected_w2**2

    @property
    def advantage_in_w2_squared(self) -> float | None:
        """The advantage as a share of the next best's W2**2."""
        return None if self.advantage is None else 1.0 - (1.0 - self.advantage) ** 2


def recommend(rows: Sequence[ResultRow]) -> Recommendation:
    """The strategy to take at one stage.

    Args:
        rows: The rows of that stage, one per strategy.
    """
    w2 = {row.strategy: row.w2_squared_expected**0.5 for row in rows}
    least = min(w2.values())
    lowest = lowest_of(rows, "w2_squared_expected")
    good = [
        row for row in rows if row.strategy in lowest or w2[row.strategy] <= (1.0 + AS_GOOD) * least
    ]
    taken = min(good, key=lambda row: (row.merges, w2[row.strategy]))
    others = [row.strategy for row in rows if row is not taken]
    next_best = min(others, key=w2.__getitem__, default=None)
    return Recommendation(
        budget=taken.budget,
        steps_per_merge=taken.steps_per_merge,
        strategy=taken.strategy,
        gradient_steps=taken.gradient_steps,
        expected_w2=w2[taken.strategy],
        as_good=tuple(row.strategy for row in good if row is not taken),
        next_best=next_best,
        next_expected_w2=None if next_best is None else w2[next_best],
        advantage=None if next_best is None else _advantage(w2[taken.strategy], w2[next_best]),
        all_as_good=len(good) == len(rows),
        equal_within_rounding=len(lowest) == len(rows),
        student_steps=taken.student_steps,
    )


def _advantage(taken: float, next_best: float) -> float:
    """Share of the second distance by which the first is below it; 0 where the second is 0."""
    return 1.0 - taken / next_best if next_best > 0.0 else 0.0


def write_recommendations(
    path: Path, num_steps: int, found: Sequence[Recommendation], sentence: str
) -> None:
    """Write ``recommendation.json``."""
    value = {
        "sentence": sentence,
        "num_steps": num_steps,
        "as_good_within": AS_GOOD,
        "stages": [as_recorded(recommendation) for recommendation in found],
    }
    write_json(path, value)


@dataclass(frozen=True)
class Standing:
    """Where sequential BOOT stands among the paper's four strategies, at one stage."""

    stage: Stage
    lowest: tuple[str, ...]
    """All strategies that tie with the lowest, within rounding."""
    least: float
    """The lowest value."""
    boot: float
    """The value of BOOT."""

    @property
    def boot_is_lowest(self) -> bool:
        """Whether BOOT is lowest, alone or tied."""
        return BOOT in self.lowest


def boot_standings(rows: Sequence[ResultRow], measure: str) -> list[Standing]:
    """Where BOOT stands at every stage.

    Args:
        measure: ``w2_squared`` or ``pixel_l2``: the measured value that is compared.
    """
    stages = dict.fromkeys(row.stage for row in rows)
    return [_standing([row for row in rows if row.stage == stage], measure) for stage in stages]


def _standing(rows: Sequence[ResultRow], measure: str) -> Standing:
    canonical = [row for row in rows if row.strategy in CANONICAL]
    values = {row.strategy: getattr(row, measure) for row in canonical}
    lowest = lowest_of(canonical, measure)
    return Standing(rows[0].stage, lowest, min(values.values()), values[BOOT])


def lowest_of(rows: Sequence[ResultRow], measure: str) -> tuple[str, ...]:
    """All strategies of a stage that tie with the lowest: rounding explains the difference.

    Args:
        measure: A field of ``ResultRow`` that is a W2**2, or ``pixel_l2``.
    """
    values = {row.strategy: float(getattr(row, measure)) for row in rows}
    if measure == "pixel_l2":
        most = min(values.values()) + PIXEL_ROUNDING
        return tuple(name for name, value in values.items() if value <= most)
    best = min(rows, key=lambda row: values[row.strategy])
    return tied_with_lowest(values, best.dimensions, operator_rounding(best.engine))
