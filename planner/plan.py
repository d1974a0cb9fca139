"""Merge plans: which neighbouring jumps are distilled into one student, and in what order."""

from collections.abc import Iterator
from dataclasses import dataclass


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


def step(t: int) -> Plan:
    """The teacher step x_t -> x_{t-1}."""
    return Plan(start=t, stop=t - 1)


def merge(*parts: Plan) -> Plan:
    """Neighbouring plans, noisiest first, distilled into one student."""
    return Plan(start=parts[0].start, stop=parts[-1].stop, parts=parts)


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
