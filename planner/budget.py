"""Training budgets: the same time for every merge, or the same total for every plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, distinct, num_merges
from planner.problem import Problem, shrinkage_of
from planner.value import plan_operator

Array = NDArray[np.float64]

BudgetKind = Literal["per_merge", "total"]
"""What equal training means: equally long for every merge, as in [OM], or for every plan in all."""
BUDGETS: tuple[BudgetKind, ...] = ("per_merge", "total")


class Stage(NamedTuple):
    """A budget and a training length."""

    budget: BudgetKind
    steps_per_merge: int
    """Gradient steps per merge; under ``total``, those of a plan that makes T - 1 merges."""

    @property
    def name(self) -> str:
        """The stage in names of files; those of one budget sort by training length."""
        return f"{self.budget}_{self.steps_per_merge:05d}"


def budget_kind(name: str) -> BudgetKind:
    """The budget of that name.

    Raises:
        ValueError: there is none.
    """
    for kind in BUDGETS:
        if kind == name:
            return kind
    raise ValueError(f"budget must be one of {', '.join(BUDGETS)}, got {name!r}")


@dataclass(frozen=True)
class Budget:
    """How long the merges of a plan train."""

    train_time: float
    kind: BudgetKind = "per_merge"
    """``per_merge``: every merge gets the whole time, as in [OM]; ``total``: the merges of a plan
    share it equally."""

    def __post_init__(self) -> None:
        budget_kind(self.kind)

    def time_of_one(self, count: int) -> float:
        """Training time of each merge in a plan of ``count`` merges."""
        return self.train_time / max(1, count) if self.kind == "total" else self.train_time

    def merge_counts(self, num_steps: int) -> list[int]:
        """Numbers of merges that are worth planning for.

        Under a total budget a plan of M merges gives each the M-th part, and should be planned
        for that; all M from 1 to T - 1 are bracketed by a doubling sequence.
        """
        if self.kind == "per_merge" or num_steps <= 2:
            return [1]
        return sorted({1 << k for k in range((num_steps - 1).bit_length())} | {num_steps - 1})


def operator_under(
    budget: Budget,
    plans: Sequence[Plan],
    problem: Problem,
    rates: Array | None = None,
) -> Array:
    """Operator of students that train one plan a coordinate within ``budget``, (d,).

    Each coordinate's own plan is what a total budget is shared over.

    Args:
        rates: As for ``Problem.with_training``.
    """
    rates = problem.second_moments if rates is None else rates
    operator = np.empty(len(problem.variances))
    for plan in distinct(plans):
        own = np.array([other is plan for other in plans])
        time = budget.time_of_one(num_merges(plan))
        shrinkage = shrinkage_of(rates[:, own], time)
        operator[own] = plan_operator(plan, problem.operators[:, own], shrinkage)
    return operator
