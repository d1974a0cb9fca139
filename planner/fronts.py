"""Joint planning by dynamic programming over blocks of steps.

The candidates for the block [a..b], in closed intervals, are

    direct   (1 - g_b) prod_{t=a..b} A_t + g_b A_b
    split m  right * ((1 - g_b) left + g_b),  for every kept left of [a..m], right of [m+1..b]

A candidate is the operator of a block: a row of d numbers, one per coordinate. Each block keeps
some of its candidates, its *front*. What a rule ``Keep`` retains trades exactness for time: the one
candidate nearest to the target ([OM] Algorithm 1), all that no other dominates (exact), or a
few that are best in several directions (``planner.beam``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.compiled import compiled
from planner.plan import Plan, Plans, merge, step
from planner.problem import MergeProblem
from planner.watch import Watch

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Block = tuple[int, int]
"""The steps a..b, as (a, b)."""
Keep = Callable[[Block, Array], Rows]
"""Block and candidates (n, d) -> rows to keep. Earlier rows win ties; the direct merge is row 0."""

MOST_NUMBERS = 1 << 21
"""Candidates times d, beyond which candidates are pruned at once: 16 MiB."""


@dataclass(frozen=True, eq=False)
class Front:
    """The kept candidates of one block, and what they were merged from."""

    values: Array
    """Operators of the block, (n, d)."""
    origins: NDArray[np.int32]
    """Cut m (0 for none), row in the front of [a..m], row in the front of [m+1..b]; (n, 3)."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        """Memory of the front."""
        return self.values.nbytes + self.origins.nbytes


Fronts = dict[Block, Front]


def single_front(value: Array) -> Front:
    """The front of one candidate, (d,), without a cut: a teacher step, or a direct merge."""
    return Front(value[None], np.zeros((1, 3), np.int32))


def nearest_to(target: Array, slope: Array | float = 1.0) -> Keep:
    """Keep the one candidate x with the least ``sum_i (target_i - slope_i x_i)**2``."""

    def keep(block: Block, candidates: Array) -> Rows:
        nearest: Rows = np.argmin(np.square(target - slope * candidates).sum(axis=1), keepdims=True)
        return nearest

    return keep


def undominated(direction: Array) -> Keep:
    """Keep every candidate unless another is at least as good in all coordinates.

    The first of equal candidates is kept.

    Args:
        direction: -1 where a smaller value is better, else +1, (d,).
    """

    def keep(block: Block, candidates: Array) -> Rows:
        gains = candidates * direction
        # Best first in coordinate 0, then 1, ...: a row stands behind all rows that dominate it.
        order = np.lexsort(-gains.T[::-1])
        ordered = np.ascontiguousarray(gains[order])
        stays = _staircase(ordered) if ordered.shape[1] <= 2 else _undominated(ordered)
        return np.sort(order[stays])

    return keep


@compiled()
def _staircase(gains: Array) -> NDArray[np.bool_]:
    """Mask of the undominated among sorted rows of one or two coordinates.

    Those are the rows whose last coordinate is a new best.
    """
    stays = np.zeros(len(gains), np.bool_)
    best = -np.inf
    for row in range(len(gains)):
        if gains[row, -1] > best:
            best = gains[row, -1]
            stays[row] = True
    return stays


@compiled()
def _undominated(gains: Array) -> NDArray[np.bool_]:
    """Mask of the undominated among sorted rows of any width.

    Each row is compared with those kept so far.
    """
    stays = np.zeros(len(gains), np.bool_)
    kept = np.empty(len(gains), np.intp)
    count = 0
    for row in range(len(gains)):
        dominated = False
        for place in range(count):
            better = True
            for i in range(1, gains.shape[1]):
                if gains[kept[place], i] < gains[row, i]:
                    better = False
                    break
            if better:
                dominated = True
                # The next rows are likely to have the same dominator, so it moves forward.
                kept[place], kept[place // 2] = kept[place // 2], kept[place]
                break
        if not dominated:
            stays[row] = True
            kept[count] = row
            count += 1
    return stays


def interval_fronts(
    problem: MergeProblem,
    keep: Keep,
    memory_limit: int | None = None,
    watch: Watch | None = None,
) -> Fronts:
    """The front of every block, shorter blocks first.

    Args:
        memory_limit: Bytes that the candidates of one block may take. Candidates are pruned in
            between, so the limit bounds the time rather than the memory.
        watch: Shows the progress and ends the search when its time is up.

    Raises:
        ValueError: a block has more candidates than ``memory_limit`` allows.
        TimeoutError: the time of ``watch`` is up.
    """
    operators, num_steps = problem.operators, problem.num_steps
    fronts = {(t, t): single_front(operators[t - 1]) for t in range(1, num_steps + 1)}
    products = operators.copy()  # row a - 1: the product of the block that starts at a
    for length in (watch or Watch()).rounds(range(2, num_steps + 1), "block length"):
        for a in range(1, num_steps - length + 2):
            b = a + length - 1
            products[a - 1] *= operators[b - 1]
            g = problem.shrinkage[b - 1]
            direct = (1.0 - g) * products[a - 1] + g * operators[b - 1]
            cuts = range(a, b) if length > 2 else ()  # two steps: the split is the direct merge
            sides = [(m, fronts[a, m], fronts[m + 1, b]) for m in cuts]
            if memory_limit is not None:
                _refuse_large((a, b), sides, memory_limit)
            fronts[a, b] = join((a, b), sides, g, keep, single_front(direct))
    return fronts


def join(
    block: Block,
    sides: list[tuple[int, Front, Front]],
    g: Array,
    keep: Keep,
    start: Front | None = None,
) -> Front:
    """The front of ``block``: what ``keep`` retains of all merges of its sides.

    Args:
        sides: For each cut m, the fronts of [a..m] and [m+1..b].
        g: Shrinkage of the merge, (d,); zeros give the plain products.
        start: Candidates to consider before the merges.
    """
    pending = [] if start is None else [start]
    for m, left, right in sides:
        factors = (1.0 - g) * left.values + g
        rows = max(1, MOST_NUMBERS // factors.size)
        for first in range(0, len(right), rows):
            some = right.values[first : first + rows]
            values = (some[:, None] * factors).reshape(-1, factors.shape[1])
            origins = np.empty((len(some), len(left), 3), np.int32)
            origins[..., 0] = m
            origins[..., 1] = np.arange(len(left))
            origins[..., 2] = np.arange(first, first + len(some))[:, None]
            pending.append(Front(values, origins.reshape(-1, 3)))
            if sum(part.values.size for part in pending) > MOST_NUMBERS:
                pending = [_pruned(pending, block, keep)]
    return _pruned(pending, block, keep)


def _pruned(pending: list[Front], block: Block, keep: Keep) -> Front:
    values = np.concatenate([part.values for part in pending])
    origins = np.concatenate([part.origins for part in pending])
    rows = keep(block, values)
    return Front(values[rows], origins[rows])


def _refuse_large(block: Block, sides: list[tuple[int, Front, Front]], memory_limit: int) -> None:
    if not sides:
        return
    candidates = sum(len(left) * len(right) for _, left, right in sides)
    size = candidates * sides[0][1].bytes // len(sides[0][1])
    if size > memory_limit:
        largest = max(len(front) for _, left, right in sides for front in (left, right))
        raise ValueError(
            f"fronts of up to {largest} plans give the steps {block[0]}..{block[1]} "
            f"{candidates} candidates of {size} bytes, past the memory limit of {memory_limit}; "
            "plan fewer steps or coordinates, or use the solver beam"
        )


def build(fronts: Fronts, block: Block, row: int) -> Plan:
    """The plan behind row ``row`` of the front of ``block``."""
    done: dict[Block, Plan] = {}
    stack = [(block, row)]
    while stack:  # no recursion, because a plan can be T levels deep
        (a, b), row = stack.pop()
        m, left, right = fronts[a, b].origins[row].tolist()
        sides = ((m + 1, b), (a, m))
        if a == b:
            done[a, b] = step(a)
        elif m == 0:
            done[a, b] = merge(*(step(t) for t in range(b, a - 1, -1)))
        elif all(side in done for side in sides):
            done[a, b] = merge(*(done[side] for side in sides))
        else:
            stack += [((a, b), row), (sides[0], right), (sides[1], left)]
    return done[block]


def best_blocks(fronts: Fronts, num_operators: int, target: Array, keep: Keep) -> Plans:
    """Plans of K = ``num_operators`` blocks that tile all steps, noisiest first.

    Of all products that the fronts give, theirs is nearest to ``target``. F_k[b], the front of k
    blocks over the steps 1..b, is what ``keep`` retains of the products of F_{k-1}[m] with the
    front of [m+1..b].
    """
    num_steps = max(b for _, b in fronts)
    towers = [{b: fronts[1, b] for b in range(1, num_steps + 1)}]
    no_shrinkage = np.zeros_like(target)
    for k in range(2, num_operators + 1):
        below = towers[-1]
        ends = range(k, num_steps + 1) if k < num_operators else (num_steps,)
        tower = {}
        for b in ends:
            sides = [(m, below[m], fronts[m + 1, b]) for m in range(k - 1, b)]
            tower[b] = join((1, b), sides, no_shrinkage, keep)
        towers.append(tower)

    b, row = num_steps, int(nearest_to(target)((1, num_steps), towers[-1][num_steps].values)[0])
    blocks = []
    for tower in reversed(towers[1:]):
        m, left, right = tower[b].origins[row].tolist()
        blocks.append(build(fronts, (m + 1, b), right))
        b, row = m, left
    return (*blocks, build(fronts, (1, b), row))
