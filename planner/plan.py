"""Merge plans: which neighbouring jumps are distilled into one student, and in what order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")

Outline = tuple[tuple[int, ...], ...]
"""A plan as flat, hashable numbers: for each merge the times where its parts begin and end."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan:
    """The jump x_start -> x_stop: one teacher step, or a merge of the parts that tile it.

    Plans with the same merges are equal. A sequential plan is T levels deep, so its methods must
    not recurse level by level, as those that ``dataclass`` writes do.
    """

    start: int
    stop: int
    parts: tuple["Plan", ...] = ()
    """The plans that are merged, noisiest first; empty for a teacher step."""

    def __post_init__(self) -> None:
        # A long search builds tens of thousands of plans, so a message is made only on an error.
        if not self.parts:
            if self.start - self.stop != 1:
                raise ValueError(f"the jump {self._name} has no parts, yet is not one teacher step")
            return
        if len(self.parts) == 1:
            raise ValueError(
                f"the jump {self._name} merges a single part; a merge takes two or more"
            )
        if [self.start, *(p.stop for p in self.parts)] != [
            *(p.start for p in self.parts),
            self.stop,
        ]:
            spans = [(part.start, part.stop) for part in self.parts]
            raise ValueError(f"parts {spans} do not tile the jump {self._name}")

    @property
    def _name(self) -> str:
        return f"x_{self.start} -> x_{self.stop}"

    def __repr__(self) -> str:
        count = num_merges(self)
        what = f"{count} merge{'s' if count != 1 else ''}" if count else "a teacher step"
        return f"<Plan {self._name}, {what}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self is other or (
            (self.start, self.stop) == (other.start, other.stop) and outline(self) == outline(other)
        )

    def __hash__(self) -> int:
        return hash((self.start, outline(self)))

    def __reduce__(self) -> tuple[object, ...]:
        return from_outline, (self.start, outline(self))


Plans = tuple[Plan, ...]
"""One plan per coordinate, or one per step of the student; the context says which."""


def step(t: int) -> Plan:
    """The teacher step x_t -> x_{t-1}."""
    return Plan(start=t, stop=t - 1)


def merge(*parts: Plan) -> Plan:
    """Neighbouring plans, noisiest first, distilled into one student."""
    return Plan(start=parts[0].start, stop=parts[-1].stop, parts=parts)


def outline(plan: Plan) -> Outline:
    """The merges of ``plan`` in execution order; equal plans have equal outlines."""
    return tuple((jump.start, *(part.stop for part in jump.parts)) for jump in merges(plan))


def from_outline(start: int, seams: Iterable[Sequence[int]]) -> Plan:
    """The plan with this outline, which starts at x_start.

    Args:
        seams: The outline. It is empty for the teacher step x_start -> x_{start-1}.
    """
    built: dict[tuple[int, int], Plan] = {}

    def part(b: int, a: int) -> Plan:
        # The outline does not list teacher steps, and a merge is part of one whole only.
        return built.pop((b, a)) if (b, a) in built else step(b)

    for ends in seams:
        built[ends[0], ends[-1]] = merge(*(part(b, a) for b, a in pairwise(ends)))
    return built.popitem()[1] if built else step(start)


DIRECT = -1
"""Stands for a cut where there is none: a direct merge of steps."""


def plan_of_cuts(cuts: NDArray[np.signedinteger[Any]]) -> Plan:
    """The plan of a dynamic program over blocks of steps, counted from 0.

    Args:
        cuts: For each block [a..b] of two or more steps the last step of its left part, or DIRECT,
            at [a, b], (T, T).
    """
    done: dict[tuple[int, int], Plan] = {}
    whole = (0, len(cuts) - 1)
    stack = [whole]
    while stack:  # no recursion, because a plan can be T levels deep
        a, b = stack.pop()
        m = int(cuts[a, b])
        if a == b:
            done[a, b] = step(a + 1)
        elif m == DIRECT:
            done[a, b] = merge(*(step(t + 1) for t in range(b, a - 1, -1)))
        elif (m + 1, b) in done and (a, m) in done:
            done[a, b] = merge(done.pop((m + 1, b)), done.pop((a, m)))
        else:
            stack += [(a, b), (m + 1, b), (a, m)]
    return done[whole]


def merges(plan: Plan) -> Iterator[Plan]:
    """The merges of ``plan`` in execution order: parts before their whole, noisiest first."""
    # A sequential plan is T levels deep, too deep to recurse. The stack meets each whole first.
    stack, found = [plan], []
    while stack:
        node = stack.pop()
        if node.parts:
            found.append(node)
            stack.extend(node.parts)
    return reversed(found)


def by_merge(plan: Plan, values: Iterable[Value]) -> dict[tuple[int, int], Value]:
    """(start, stop) of every merge of ``plan`` -> its value.

    Args:
        values: One per merge, in execution order.
    """
    ends = [(jump.start, jump.stop) for jump in merges(plan)]
    return dict(zip(ends, values, strict=True))


def num_merges(plan: Plan) -> int:
    """Number of merges of ``plan``; a teacher step has none."""
    return sum(1 for _ in merges(plan))


def merges_of_coordinates(plans: Sequence[Plan], student_steps: int) -> NDArray[np.int64]:
    """Merges that each coordinate makes over the K steps of its student, (d,).

    Args:
        plans: One plan per step and coordinate, K d of them, step by step.
    """
    counts = np.array(map_distinct(num_merges, plans)).reshape(student_steps, -1)
    found: NDArray[np.int64] = counts.sum(axis=0)
    return found


def rounds(plan: Plan) -> list[list[Plan]]:
    """The merges of ``plan`` in rounds; the merges of one round do not need each other's result."""
    grouped: list[list[Plan]] = []
    round_of: dict[tuple[int, int], int] = {}
    for jump in merges(plan):
        number = 1 + max(round_of.get((part.start, part.stop), -1) for part in jump.parts)
        round_of[jump.start, jump.stop] = number
        if number == len(grouped):
            grouped.append([])
        grouped[number].append(jump)
    return grouped


def distinct(plans: Iterable[Plan]) -> list[Plan]:
    """Every plan object once, in the order of its first appearance.

    Objects are compared, not contents: coordinates that share a plan share the object.
    """
    return list({id(plan): plan for plan in plans}.values())


def share_equal(plans: Iterable[Plan]) -> Plans:
    """The same plans, with one object for all that are equal."""
    given = tuple(plans)
    shared: dict[Outline, Plan] = {}
    outlines = map_distinct(outline, given)
    return tuple(shared.setdefault(key, plan) for key, plan in zip(outlines, given, strict=True))


def map_distinct(function: Callable[[Plan], Value], plans: Sequence[Plan]) -> list[Value]:
    """``function`` of every plan, computed once for each plan object."""
    values = {id(plan): function(plan) for plan in distinct(plans)}
    return [values[id(plan)] for plan in plans]
