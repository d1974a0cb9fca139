"""Which plans neural students train under, and how many gradient steps each merge gets."""

from collections.abc import Callable, Sequence
from typing import Literal

from planner.plan import Plan, Plans, from_outline, merges, outline

ComputeBudget = Literal["per_merge", "total", "compute"]
COMPUTE_BUDGETS: tuple[ComputeBudget, ...] = ("per_merge", "total", "compute")

FORWARDS_OF_STUDENT = 3  # its forward, and a backward that costs two of them


def student_plans(make: Callable[[int], Plan], num_steps: int, student_steps: int) -> Plans:
    """One plan per step of the student, noisiest first, each over an equal share of 1..T.

    Where T is no multiple of the student's steps, the cleaner ones get one teacher step more.

    Args:
        make: A strategy: number of teacher steps -> its plan over them.
    """
    least, more = divmod(num_steps, student_steps)
    plans, stop = [], 0
    for number in range(student_steps):
        size = least + (number < more)
        plans.append(_raised(make(size), stop))
        stop += size
    return tuple(reversed(plans))


def _raised(plan: Plan, by: int) -> Plan:
    """The same plan over teacher steps that are ``by`` noisier."""
    seams = tuple(tuple(t + by for t in ends) for ends in outline(plan))
    return from_outline(plan.start + by, seams)


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
        steps_per_merge: Those of each merge under ``per_merge``. The other budgets spend on a
            whole student what T - 1 merges of pairs take at so many.
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
