"""Every merge plan of a few steps, by recursion: the oracle of the planner's tests."""

from collections.abc import Iterator
from itertools import product

from planner.plan import Plan, merge, step


def compositions(a: int, b: int) -> Iterator[list[tuple[int, int]]]:
    """All ways to cut [a..b] into two or more neighbouring blocks, noisiest first."""
    for cuts in product([False, True], repeat=b - a):
        ends = [a + i for i, cut in enumerate(cuts) if cut] + [b]
        starts = [a] + [end + 1 for end in ends[:-1]]
        if len(ends) > 1:
            yield list(zip(starts, ends, strict=True))[::-1]


def every_plan(a: int, b: int) -> Iterator[Plan]:
    """All plans over the steps [a..b], with merges of any number of parts."""
    if a == b:
        yield step(a)
    for blocks in compositions(a, b):
        for parts in product(*(every_plan(*block) for block in blocks)):
            yield merge(*parts)


def every_algorithm_1_plan(a: int, b: int) -> Iterator[Plan]:
    """The plans that [OM] Algorithm 1 tries: direct merges of single steps, and pairs."""
    return (plan for plan in every_plan(a, b) if _is_in_algorithm_1(plan))


def _is_in_algorithm_1(plan: Plan) -> bool:
    direct = all(not part.parts for part in plan.parts)
    return direct or (len(plan.parts) == 2 and all(map(_is_in_algorithm_1, plan.parts)))
