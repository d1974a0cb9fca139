"""Training budgets: the same time for every merge, or the same total for every plan.

Both are in continuous time in the planner, and in whole gradient steps in training. How many steps
each merge takes is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, num_merges
from planner.problem import Decay, Problem

Array = NDArray[np.float64]

BudgetKind = Literal["per_merge", "total", "best_split"]
"""Equal training: ``per_merge``, the same time for every merge, as in [OM]; ``total``, the same
time for every plan, which its merges share equally; or ``best_split``, the same time for every
plan, divided over its merges as is best for that plan (``planner.split``)."""
BUDGETS: tuple[BudgetKind, ...] = ("per_merge", "total")
"""The budgets that commands compare unless they are asked for others."""


WHERE: dict[BudgetKind, str] = {
    "per_merge": "per merge",
    "total": "in total",
    "best_split": "in total, best split",
}
"""What texts say of a training length under a budget."""

MergeSteps = tuple[tuple[int, ...], ...]
"""Gradient steps of the merges of each plan, in execution order (``planner.plan.merges``)."""


Shares = tuple[float, ...]
"""Share of the total training time of every merge of a plan, in execution order."""


class Stage(NamedTuple):
    """A budget, a training length, and how many steps the students have."""

    budget: BudgetKind
    steps_per_merge: int
    """Gradient steps per merge; under a total, those of a plan that makes T - 1 merges."""
    student_steps: int = 1
    """K, the steps of the student."""

    @property
    def name(self) -> str:
        """The stage in names of files; those of one budget sort by training length."""
        return f"{self.budget}_{self.steps_per_merge:05d}{k_suffix(self.student_steps)}"


def k_suffix(student_steps: int) -> str:
    """What names of files say about K: nothing for students of one step."""
    return "" if student_steps == 1 else f"_K{student_steps}"


def budget_kind(name: str) -> BudgetKind:
    """The budget kind with this name.

    Raises:
        ValueError: there is none.
    """
    kinds: tuple[BudgetKind, ...] = get_args(BudgetKind)
    for kind in kinds:
        if kind == name:
            return kind
    raise ValueError(f"budget must be one of {', '.join(kinds)}, got {name!r}")


@dataclass(frozen=True)
class Budget:
    """How long the merges of a plan train, and at which rates gaps close meanwhile."""

    train_time: float
    kind: BudgetKind = "per_merge"
    """Whether ``train_time`` is that of every merge, or shared by the merges of a plan."""
    decay: Decay | None = None
    """n_b w -> the rate of decay. None: the rate is n_b w, that of gradient flow."""

    def __post_init__(self) -> None:
        budget_kind(self.kind)

    def time_of_one(self, count: int) -> float:
        """Training time of each merge in a plan of ``count`` merges that train equally long.

        Raises:
            ValueError: merges do not train equally long under this budget.
        """
        if self.kind == "best_split":
            raise ValueError("the merges of a plan do not train equally long under best_split")
        return self.train_time / max(1, count) if self.kind == "total" else self.train_time

    def merge_counts(self, num_steps: int) -> list[int]:
        """Numbers of merges for which the joint solvers plan, one after another.

        Under a total budget a merge in a plan of M merges trains for the M-th part of the time,
        and the plan should be made for that part. The sequence doubles from 1 to T - 1.
        """
        if self.kind == "per_merge" or num_steps <= 2:
            return [1]
        return sorted({1 << k for k in range((num_steps - 1).bit_length())} | {num_steps - 1})


def equal_parts(steps: int, count: int) -> tuple[int, ...]:
    """Gradient steps divided equally over the ``count`` merges of a plan, in execution order.

    Where the division leaves a remainder, the last merges take one step more. The last of all is
    the merge that makes the student itself.
    """
    least, more = divmod(steps, count) if count else (0, 0)
    return (least,) * (count - more) + (least + 1,) * more


def whole_parts(steps: int, shares: Shares) -> tuple[int, ...]:
    """Gradient steps in proportion to ``shares``, which sum to 1; no step is left over.

    Every merge gets the whole part of its share. The remaining steps go to the largest remainders,
    one each (the method of Hamilton).
    """
    exact = [steps * share for share in shares]
    found = [int(part) for part in exact]
    by_remainder = sorted(range(len(found)), key=lambda j: found[j] - exact[j])
    for j in by_remainder[: steps - sum(found)] if found else []:
        found[j] += 1
    return tuple(found)


def operator_under(
    budget: Budget,
    plans: Sequence[Plan],
    problem: Problem,
) -> Array:
    """Operator of students of K steps that train within ``budget``, (d,).

    It is the product over the steps. With a total budget, each coordinate divides the time equally
    over the merges of all its own plans.

    Args:
        plans: One plan per step and coordinate, K d of them, step by step: ``plans[k * d + i]`` is
            step k of coordinate i.
    """
    width = len(problem.variances)
    operator = np.empty(width)
    columns: dict[tuple[int, ...], list[int]] = {}  # plan objects -> the coordinates that have them
    for i in range(width):
        columns.setdefault(tuple(map(id, plans[i::width])), []).append(i)
    for own in columns.values():
        steps = plans[own[0] :: width]
        time = budget.time_of_one(sum(map(num_merges, steps)))
        trained = problem.select(np.array(own)).trained(time, budget.decay)
        operator[own] = np.prod([trained.student_operator(plan) for plan in steps], axis=0)
    return operator
