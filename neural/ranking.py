"""Does theory rank neural students? Kendall's tau, hits and regret, against a constant guess.

Two errors whose ratio is below ``NO_RANKING`` count as equal: such pairs have no order, and a
cell whose two best are that close has no winner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite

import numpy as np

from neural.student_plans import ComputeBudget

NO_RANKING = 1.10
ROUNDING = 1e-12  # predicted errors below are 0 but for rounding
CONSTANT_GUESS: dict[ComputeBudget, str] = {
    "per_merge": "sequential_boot",
    "total": "vanilla",
    "compute": "sequential_boot",
}

Errors = Mapping[str, float]
"""Strategy -> error, of the strategies of one cell: the same data, budget and training length."""


def is_ranked(one: float, other: float) -> bool:
    """Whether two errors are apart enough to be ordered; a diverged one is not finite."""
    return max(one, other) >= NO_RANKING * min(one, other) and one != other


def kendall_tau(measured: Errors, predicted: Errors) -> float | None:
    """Share of ordered pairs in the predicted order less that of the others; None without pairs.

    tau = (concordant - discordant) / (pairs that the measured errors order)
    """
    signs = [
        np.sign(measured[one] - measured[other]) * _order(predicted[one], predicted[other])
        for one, other in combinations(measured, 2)
        if is_ranked(measured[one], measured[other])
    ]
    return float(np.mean(signs)) if signs else None


def _order(one: float, other: float) -> float:
    """The sign of one - other; 0 where both are rounding."""
    return float(np.sign(max(one, ROUNDING) - max(other, ROUNDING)))


def winner(measured: Errors) -> str | None:
    """The strategy with the least error, or None where the second is within the tolerance."""
    best, second = sorted(measured, key=measured.__getitem__)[:2]
    return best if is_ranked(measured[best], measured[second]) else None


def named_by(predicted: Errors) -> list[str]:
    """The strategies that a law puts first: several where it sees no difference."""
    least = max(min(predicted.values()), ROUNDING)
    return [name for name, error in predicted.items() if error <= least * (1 + ROUNDING)]


def regret(measured: Errors, named: Sequence[str]) -> float:
    """Error of the worst of the strategies that were named over the least one; at least 1."""
    return max(measured[name] for name in named) / min(measured.values())


@dataclass(frozen=True)
class Tally:
    """How a way to name winners did over several cells."""

    cells: int
    winners: int
    """Cells that have a winner."""
    hits: int
    """Cells whose winner was named, and no other strategy with it."""
    max_regret: float
    """Over all cells, with a winner or without."""


def tally(measured: Sequence[Errors], named: Sequence[Sequence[str]]) -> Tally:
    """Compare the named winners of several cells with the measured ones."""
    found = [winner(errors) for errors in measured]
    return Tally(
        cells=len(measured),
        winners=sum(name is not None for name in found),
        hits=sum([name] == list(names) for name, names in zip(found, named, strict=True)),
        max_regret=max(map(regret, measured, named)),
    )


def finite(errors: Errors) -> dict[str, float]:
    """The strategies that did not diverge."""
    return {name: error for name, error in errors.items() if isfinite(error)}
