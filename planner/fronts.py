"""Joint planning over blocks of steps: what each block keeps decides what the plan is worth.

The candidates for the block [a..b], in closed intervals, are

    direct   (1 - g_b) prod_{t=a..b} A_t + g_b A_b
    split m  right * ((1 - g_b) left + g_b),  for every kept left of [a..m], right of [m+1..b]

A block keeps one value ([OM] Algorithm 1), those that no other dominates (exact), or a few that
look best from several sides. A value is a row of d numbers, one a coordinate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from tqdm import tqdm

from planner.plan import Plan, merge, step

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Block = tuple[int, int]
Keep = Callable[[Block, Array], Rows]
"""Block and candidates (n, d) -> rows to keep. Earlier rows win ties; the direct merge is row 0."""

MOST_NUMBERS = 1 << 21  # candidates are pruned whenever they pass 16 MiB


@dataclass(frozen=True, eq=False)
class Front:
    """The kept values of one block, and where they come from."""

    values: Array  # (n, d)
    origins: NDArray[np.int32]  # (n, 3): cut m (0 for none), row in [a..m], row in [m+1..b]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.values.nbytes + self.origins.nbytes


Fronts = dict[Block, Front]


def interval_fronts(
    operators: Array, shrinkage: Array, keep: Keep, memory_limit: int | None = None
) -> Fronts:
    """What every block keeps, shorter blocks first.

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, d).
        memory_limit: Bytes that the candidates of one block may take; they are pruned on the way,
            so that it bounds the time as well.

    Raises:
        ValueError: they would take more.
    """
    num_steps = len(operators)
    fronts = {
        (t, t): Front(operators[t - 1 : t], np.zeros((1, 3), np.int32))
        for t in range(1, num_steps + 1)
    }
    products = operators.copy()  # row a - 1: the product of the block that starts at a
    # The delay keeps the bar away from searches that end at once, as most do.
    lengths = tqdm(range(2, num_steps + 1), "plan", unit="block length", delay=2.0, leave=False)
    for length in lengths:
        for a in range(1, num_steps - length + 2):
            b = a + length - 1
            products[a - 1] *= operators[b - 1]
            g = shrinkage[b - 1]
            direct = (1.0 - g) * products[a - 1] + g * operators[b - 1]
            start = Front(direct[None], np.zeros((1, 3), np.int32))
            cuts = range(a, b) if length > 2 else ()  # two steps: the split is the direct merge
            sides = [(m, fronts[a, m], fronts[m + 1, b]) for m in cuts]
            if memory_limit is not None:
                _refuse_large((a, b), sides, memory_limit)
            fronts[a, b] = join((a, b), sides, g, keep, start)
    return fronts


def join(
    block: Block,
    sides: list[tuple[int, Front, Front]],
    g: Array,
    keep: Keep,
    start: Front | None = None,
) -> Front:
    """What ``block`` keeps of ``start`` and of all merges of its sides.

    Args:
        sides: Cut m, front of [a..m], front of [m+1..b].
        g: Shrinkage of the merge, (d,); zeros give the plain products.
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


def nearest_to(target: Array, slope: Array | float = 1.0) -> Keep:
    """Keep the one candidate x with the least ``sum_i (target_i - slope_i x_i)**2``."""

    def keep(block: Block, candidates: Array) -> Rows:
        nearest: Rows = np.argmin(np.square(target - slope * candidates).sum(axis=1), keepdims=True)
        return nearest

    return keep


def build(fronts: Fronts, block: Block, row: int) -> Plan:
    """The plan behind one kept value of a block."""
    done: dict[Block, Plan] = {}
    stack = [(block, row)]
    while stack:  # T levels deep at worst, so no recursion
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


def best_blocks(fronts: Fronts, num_operators: int, target: Array, keep: Keep) -> tuple[Plan, ...]:
    """Plans of K = ``num_operators`` blocks that tile all steps, noisiest first.

    Their product is the nearest to ``target`` that the fronts can give: F_k[b], what k blocks over
    the steps 1..b keep, are the products of F_{k-1}[m] with the front of [m+1..b].
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


def undominated(direction: Array) -> Keep:
    """Keep every candidate that no other matches or betters in all coordinates.

    Of equal candidates the first stays. ``towards`` is -1 where smaller is better, else +1, (d,).
    """

    def keep(block: Block, candidates: Array) -> Rows:
        gains = candidates * direction
        # Best first in coordinate 0, then 1, ...: whoever dominates a row stands before it.
        order = np.lexsort(-gains.T[::-1])
        ordered = np.ascontiguousarray(gains[order])
        stays = _staircase(ordered) if ordered.shape[1] <= 2 else _undominated(ordered)
        return np.sort(order[stays])

    return keep


@njit(cache=True)
def _staircase(gains: Array) -> NDArray[np.bool_]:
    """For one or two sorted coordinates: rows whose last coordinate is a new best."""
    stays = np.zeros(len(gains), np.bool_)
    best = -np.inf
    for row in range(len(gains)):
        if gains[row, -1] > best:
            best = gains[row, -1]
            stays[row] = True
    return stays


@njit(cache=True)
def _undominated(gains: Array) -> NDArray[np.bool_]:
    """For sorted rows of any width: compare each with those kept so far."""
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
                # Rows near each other share their dominators: let them be found sooner.
                kept[place], kept[place // 2] = kept[place // 2], kept[place]
                break
        if not dominated:
            stays[row] = True
            kept[count] = row
            count += 1
    return stays
