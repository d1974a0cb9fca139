"""Merge plans: which neighbouring jumps are distilled into one student, and in what order."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Plan:
    """The jump x_start -> x_stop: one teacher step, or a merge of the parts that tile it."""

    start: int
    stop: int
    parts: tuple["Plan", ...] = ()  # noisiest first; empty for a teacher step

    def __post_init__(self) -> None:
        # A long search builds tens of thousands of these: messages are made where they are due.
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

    def __reduce__(self) -> tuple[object, ...]:
        # Pickle would recurse level by level, and a sequential plan is T levels deep.
        return from_outline, (self.start, outline(self))


def step(t: int) -> Plan:
    """The teacher step x_t -> x_{t-1}."""
    return Plan(start=t, stop=t - 1)


def merge(*parts: Plan) -> Plan:
    """Neighbouring plans, noisiest first, distilled into one student."""
    return Plan(start=parts[0].start, stop=parts[-1].stop, parts=parts)


def outline(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """The merges of ``plan`` in execution order, each as the seams of its parts: flat, hashable."""
    return tuple((jump.start, *(part.stop for part in jump.parts)) for jump in merges(plan))


def from_outline(start: int, seams: tuple[tuple[int, ...], ...]) -> Plan:
    """The plan of that outline; of the teacher step x_start -> x_{start-1} it is empty."""
    built: dict[tuple[int, int], Plan] = {}

    def part(b: int, a: int) -> Plan:
        # A teacher step is nowhere in the outline; a merge is part of one whole only.
        return built.pop((b, a)) if (b, a) in built else step(b)

    for ends in seams:
        built[ends[0], ends[-1]] = merge(*(part(b, a) for b, a in pairwise(ends)))
    return built.popitem()[1] if built else step(start)


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


def rounds(plan: Plan) -> list[list[Plan]]:
    """The merges of ``plan`` in rounds: those of one round do not wait for each other."""
    grouped: list[list[Plan]] = []
    round_of: dict[tuple[int, int], int] = {}
    for jump in merges(plan):
        number = 1 + max(round_of.get((part.start, part.stop), -1) for part in jump.parts)
        round_of[jump.start, jump.stop] = number
        if number == len(grouped):
            grouped.append([])
        grouped[number].append(jump)
    return grouped
