"""Which plans neural students train under, and how many gradient steps each merge gets."""

from collections.abc import Sequence
from typing import Literal

from planner.plan import Plan, merges

ComputeBudget = Literal["per_merge", "total", "compute"]
COMPUTE_BUDGETS: tuple[ComputeBudget, ...] = ("per_merge", "total", "compute")

FORWARDS_OF_STUDENT = 3  # its forward, and a backward that costs two of them


def parts_of_merges(plans: Sequence[Plan]) -> list[int]:
    """Number of parts of every merge of all plans."""
    return [len(merge.parts) for plan in plans for merge in merges(plan)]


def forwards(plans: Sequence[Plan], updates: int) -> int:
    """Forward passes of training every merge for ``updates`` gradient steps.

    One gradient step asks each part for its target, and takes a forward and a backward of the
    student: updates * (parts + 3).
    """
    return updates * sum(count + FORWARDS_OF_STUDENT for count in parts_of_merges(plans))


def updates_per_merge(
    budget: ComputeBudget, plans: Sequence[Plan], steps_per_merge: int, num_steps: int
) -> int:
    """Gradient steps of each merge of ``plans``, 0 where nothing is merged.

    Args:
        steps_per_merge: Gradient steps of each merge under ``per_merge``. The other budgets give a
            whole student what T - 1 merges of pairs take with this many steps each.
    """
    parts = parts_of_merges(plans)
    if not parts:
        return 0
    if budget == "per_merge":
        return steps_per_merge
    pairs = (num_steps - 1) * steps_per_merge
    if budget == "total":
        return max(1, pairs // len(parts))
    return max(1, pairs * (2 + FORWARDS_OF_STUDENT) // forwards(plans, 1))
