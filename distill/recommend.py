"""Which strategy to take, whether the paper's claim holds, and what each dimension's plan is."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distill.results import STUDENT_ROUNDING, ResultRow
from experiment.write import write_json
from planner.budget import BudgetKind
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING
from vae.model import LATENT_DIM

# Expected W2 this near to the best is as good: no image shows it, and fewer merges are less work.
AS_GOOD = 1e-3
PIXEL_ROUNDING = 1e-3  # of an L2 norm: decoding is float32
BOOT = "sequential_boot"


@dataclass(frozen=True)
class Recommendation:
    """The strategy to take at one budget and stage."""

    budget: BudgetKind
    epochs: int
    strategy: str  # of those as good as the best, the one of fewest merges
    gradient_steps: int
    expected_w2: float  # to the surrogate teacher, over training runs
    as_good: tuple[str, ...]  # others whose expected W2 is within AS_GOOD of the best
    next_best: str | None  # the best of all others; None where there is no other
    next_expected_w2: float | None
    advantage: float | None  # share by which expected W2 is below that one's
    all_as_good: bool


def recommend(rows: list[ResultRow]) -> Recommendation:
    """The strategy to take, of the rows of one budget and stage, a row a strategy."""
    w2 = {row.strategy: row.w2_squared_expected**0.5 for row in rows}
    least = min(w2.values())
    good = [row for row in rows if w2[row.strategy] <= (1.0 + AS_GOOD) * least]
    taken = min(good, key=lambda row: (row.merges, w2[row.strategy]))
    rest = [row.strategy for row in rows if row is not taken]
    following = min(rest, key=w2.__getitem__, default=None)
    mine = w2[taken.strategy]
    return Recommendation(
        budget=taken.budget,
        epochs=taken.epochs,
        strategy=taken.strategy,
        gradient_steps=taken.gradient_steps,
        expected_w2=mine,
        as_good=tuple(row.strategy for row in good if row is not taken),
        next_best=following,
        next_expected_w2=None if following is None else w2[following],
        advantage=None if following is None else _advantage(mine, w2[following]),
        all_as_good=len(good) == len(rows),
    )


def _advantage(mine: float, following: float) -> float:
    """Share by which one distance is below the next; 0 where training left none at all."""
    return 1.0 - mine / following if following > 0.0 else 0.0


def write_recommendations(
    path: Path, num_steps: int, found: list[Recommendation], sentence: str
) -> None:
    """Write ``recommendation.json``."""
    value = {
        "sentence": sentence,
        "num_steps": num_steps,
        "as_good_within": AS_GOOD,
        "stages": [asdict(recommendation) for recommendation in found],
    }
    write_json(path, value)


@dataclass(frozen=True)
class Standing:
    """Where sequential BOOT stands among the paper's four strategies, at one stage."""

    epochs: int
    lowest: tuple[str, ...]  # all that tie with the lowest, within rounding
    least: float
    boot: float  # what BOOT measures

    @property
    def boot_is_lowest(self) -> bool:
        """Alone or tied."""
        return BOOT in self.lowest


def boot_standings(rows: list[ResultRow], measure: str) -> list[Standing]:
    """The paper's claim, stage by stage, of the rows of one budget.

    Args:
        measure: ``w2_squared`` or ``pixel_l2``, as measured.
    """
    slack = _w2_slack if measure == "w2_squared" else _pixel_slack
    stages = dict.fromkeys(row.epochs for row in rows)
    return [_standing([row for row in rows if row.epochs == n], measure, slack) for n in stages]


def _standing(
    stage: list[ResultRow], measure: str, slack: Callable[[ResultRow], float]
) -> Standing:
    found = {row.strategy: getattr(row, measure) for row in stage if row.strategy in CANONICAL}
    best = min(stage, key=lambda row: found.get(row.strategy, np.inf))
    least = found[best.strategy]
    lowest = tuple(name for name, value in found.items() if value <= least + slack(best))
    return Standing(stage[0].epochs, lowest, least, found[BOOT])


def _w2_slack(row: ResultRow) -> float:
    """How far the rounding e of 128 operators near 1 may move W2**2: by 2 W2 |e| + |e|**2."""
    error = (STUDENT_ROUNDING if row.engine == "sgd" else OPERATOR_ROUNDING) * LATENT_DIM**0.5
    return 2.0 * row.w2_squared**0.5 * error + error**2


def _pixel_slack(row: ResultRow) -> float:
    return PIXEL_ROUNDING
