"""Algorithm 1 for all coordinates at once, compiled: every block keeps one candidate.

The candidates of the block [a..b] are those of ``planner.fronts``. The block keeps the one nearest
to the surrogate S, so it has one value, V[a, b]:

    V[a, b] = the nearest of   (1 - g_b) prod_{t=a..b} A_t + g_b A_b                  direct
                               V[m+1, b] ((1 - g_b) V[a, m] + g_b),  m = a..b-1       split m

The program compares (T**3 - T) / 6 splits of d numbers each. It adds squares in NumPy's order, so
plans and values equal, bit by bit, those of the general search with ``nearest_to(surrogate)``. The
tests compare the two.

Blocks are filled in tiles of TILE starts and TILE ends. Most cuts of a block lie outside its tile,
and the numbers that are read for them serve all blocks of the tile. Tiles at the same distance from
the diagonal do not need each other, and are filled in parallel.

With steps counted from 0, the table holds two factors of the cut m for each coordinate i: the left
one, V[a, m], at [m // TILE, a, i, m % TILE] for m >= a, and the right one, V[m + 1, b], at
[m // TILE, b, i, m % TILE] for m < b. So both factors of TILE neighbouring cuts are contiguous.
"""

from typing import NamedTuple

import numba
import numpy as np
from numba import prange, uintp
from numpy.typing import NDArray

from planner.compiled import compiled
from planner.fronts import Front, Fronts, best_blocks, nearest_to
from planner.plan import DIRECT, Plan, Plans, plan_of_cuts
from planner.problem import MergeProblem
from planner.watch import Watch

Array = NDArray[np.float64]
Cuts = NDArray[np.int32]
"""The last step of the left factor of each block, counted from 0, or DIRECT; (T, T)."""

TILE = 32
LEAF = 128
"""NumPy adds up to this many numbers in eight interleaved sums, and longer rows in halves."""
DEEPEST = 64  # sums of halves that wait to be joined; enough for 2**64 coordinates


def greedy_plan(problem: MergeProblem, watch: Watch) -> Plan:
    """The plan of Algorithm 1 for all coordinates.

    Raises:
        TimeoutError: the time of ``watch`` is up.
    """
    _, cuts = _fill(problem, watch)
    return plan_of_cuts(cuts)


def greedy_blocks(problem: MergeProblem, num_operators: int, watch: Watch) -> Plans:
    """The plans of Algorithm 1 for K = ``num_operators`` blocks, noisiest first.

    Raises:
        TimeoutError: the time of ``watch`` is up.
    """
    if num_operators == 1:
        return (greedy_plan(problem, watch),)
    fronts = greedy_fronts(problem, watch)
    return best_blocks(fronts, num_operators, problem.surrogate, nearest_to(problem.surrogate))


def greedy_fronts(problem: MergeProblem, watch: Watch) -> Fronts:
    """The front of every block: the one candidate that Algorithm 1 keeps.

    Raises:
        TimeoutError: the time of ``watch`` is up.
    """
    table, cuts = _fill(problem, watch)
    num_steps = len(cuts)
    origins = np.zeros((num_steps, num_steps, 3), np.int32)
    origins[..., 0] = cuts + 1
    return {
        (a + 1, b + 1): Front(table[b // TILE, a, :, b % TILE][None].copy(), origins[a, b][None])
        for b in range(num_steps)
        for a in range(b + 1)
    }


def greedy_bytes(num_steps: int, width: int) -> int:
    """Bytes of the table over ``width`` coordinates."""
    return 8 * num_steps**2 * width


class _Search(NamedTuple):
    """What the compiled functions read; they write the first three fields."""

    table: Array
    """V, (T / TILE, T, d, TILE); see the module."""
    least: Array
    """Squared distance of the best candidate of each block so far, (T, T)."""
    cuts: Cuts
    target: Array
    """S, (d,)."""
    shrinkage: Array
    """g_t, (T, d)."""
    learnt: Array
    """1 - g_t, (T, d)."""
    leaves: NDArray[np.int64]
    """See ``_leaves``."""


def _fill(problem: MergeProblem, watch: Watch) -> tuple[Array, Cuts]:
    """V of every block, as in the module, and the cuts of the blocks."""
    operators, shrinkage, target = problem.operators, problem.shrinkage, problem.surrogate
    num_steps, width = operators.shape
    num_tiles = -(-num_steps // TILE)
    search = _Search(
        table=np.zeros((num_tiles, num_steps, width, TILE)),
        least=np.empty((num_steps, num_steps)),
        cuts=np.full((num_steps, num_steps), DIRECT, np.int32),
        target=target,
        shrinkage=shrinkage,
        learnt=1.0 - shrinkage,
        leaves=_leaves(width),
    )
    # Begin with the teacher steps and the direct merges.
    products = operators.copy()  # row a: of the steps a..b
    for b in range(num_steps):
        products[:b] *= operators[b]
        direct = (1.0 - shrinkage[b]) * products[:b] + shrinkage[b] * operators[b]
        search.least[:b, b] = np.square(target - direct).sum(axis=1)
        search.table[b // TILE, :b, :, b % TILE] = direct
        search.table[b // TILE, b, :, b % TILE] = operators[b]
        if b:
            m = b - 1  # the cut whose right part is the step b
            search.table[m // TILE, b, :, m % TILE] = operators[b]
    for distance in watch.rounds(range(num_tiles), f"{TILE} block lengths"):
        _fill_tiles(search, distance, min(num_tiles - distance, numba.get_num_threads()))
    return search.table, search.cuts


def _leaves(width: int) -> NDArray[np.int64]:
    """How NumPy adds ``width`` numbers: rows (first, stop, joins), (n, 3).

    After the sum of the numbers first..stop-1, the last two sums are added, ``joins`` times.
    """
    leaves: list[list[int]] = []

    def split(first: int, stop: int) -> None:
        half = (stop - first) // 2
        half -= half % 8
        if stop - first <= LEAF:
            leaves.append([first, stop, 0])
        else:
            split(first, first + half)
            split(first + half, stop)
            leaves[-1][2] += 1

    split(0, width)
    return np.array(leaves)


@compiled(parallel=True)
def _fill_tiles(search: _Search, distance: int, num_workers: int) -> None:
    """Fill the tiles whose ends are ``distance`` tiles after their starts.

    Args:
        num_workers: Number of tiles that are filled at the same time.
    """
    num_steps = len(search.cuts)
    for worker in prange(num_workers):
        sums = np.empty((8, TILE))
        totals = np.empty((DEEPEST, TILE))
        for tile_a in range(worker, len(search.table) - distance, num_workers):
            tile_b = tile_a + distance
            first_a, stop_a = tile_a * TILE, min((tile_a + 1) * TILE, num_steps)
            first_b, stop_b = tile_b * TILE, min((tile_b + 1) * TILE, num_steps)
            # Cuts with both sides in finished tiles.
            for tile in range(tile_a + 1, tile_b):
                for a in range(first_a, stop_a):
                    for b in range(first_b, stop_b):
                        _try_cuts(search, a, b, tile, sums, totals)
            # Cuts with one side in this tile, once that side is finished.
            for a in range(stop_a - 1, first_a - 1, -1):
                for b in range(max(first_b, a + 1), stop_b):
                    if b - a > 1:  # the split of two steps is their direct merge
                        _try_cuts(search, a, b, tile_a, sums, totals)
                        if distance:
                            _try_cuts(search, a, b, tile_b, sums, totals)
                    _settle(search, a, b)


@compiled()
def _settle(search: _Search, a: int, b: int) -> None:
    """Write the value of the block [a..b], all of whose cuts have been tried, for later blocks."""
    table, cut = search.table, search.cuts[a, b]
    for i in range(len(search.target)):
        if cut != DIRECT:
            left = table[cut // TILE, a, i, cut % TILE]
            right = table[cut // TILE, b, i, cut % TILE]
            factor = search.learnt[b, i] * left + search.shrinkage[b, i]
            table[b // TILE, a, i, b % TILE] = right * factor
        if a:
            table[(a - 1) // TILE, b, i, (a - 1) % TILE] = table[b // TILE, a, i, b % TILE]


@compiled()
def _try_cuts(search: _Search, a: int, b: int, tile: int, sums: Array, totals: Array) -> None:
    """Compare the cuts of one tile with the best candidate of the block [a..b] so far.

    Of equal candidates the direct merge is kept, then the smallest cut.

    Args:
        sums, totals: Scratch, (8, TILE) and (DEEPEST, TILE).
    """
    _square_distances(
        search.table[tile, a],
        search.table[tile, b],
        search.target,
        search.learnt[b],
        search.shrinkage[b],
        search.leaves,
        sums,
        totals,
    )
    least, cut = search.least[a, b], search.cuts[a, b]
    for m in range(max(a, tile * TILE), min(b, (tile + 1) * TILE)):
        distance = totals[0, m - tile * TILE]
        if distance < least or (distance == least and m < cut):
            least, cut = distance, m
    search.least[a, b], search.cuts[a, b] = least, cut


@compiled()
def _square_distances(
    left: Array,
    right: Array,
    target: Array,
    learnt: Array,
    undone: Array,
    leaves: NDArray[np.int64],
    sums: Array,
    totals: Array,
) -> None:
    """Write ``sum_i (target_i - candidate_i)**2`` of TILE cuts into ``totals[0]``.

    Args:
        left, right: Both factors of the cuts, (d, TILE).
        learnt, undone: 1 - g_b and g_b, (d,).
        leaves, sums, totals: As in ``_Search`` and ``_try_cuts``.
    """
    depth = 0
    for leaf in range(len(leaves)):
        start, stop, joins = leaves[leaf]
        whole = stop - (stop - start) % 8
        totals[depth] = 0.0
        if whole > start:
            for k in range(8):
                sums[k] = 0.0
                _add_squares(sums, k, left, right, start + k, whole, 8, target, learnt, undone)
            for lane in range(TILE):
                s, t = sums[:4, lane], sums[4:, lane]
                totals[depth, lane] = ((s[0] + s[1]) + (s[2] + s[3])) + (
                    (t[0] + t[1]) + (t[2] + t[3])
                )
        _add_squares(totals, depth, left, right, whole, stop, 1, target, learnt, undone)
        depth += 1
        for _ in range(joins):
            depth -= 1
            totals[depth - 1] += totals[depth]


@compiled()
def _add_squares(
    totals: Array,
    row: int,
    left: Array,
    right: Array,
    start: int,
    stop: int,
    stride: int,
    target: Array,
    learnt: Array,
    undone: Array,
) -> None:
    """Add the squares of the coordinates start, start + stride, ... below ``stop`` to a row."""
    # Unsigned indices cannot count from the end, so LLVM sees contiguous rows and uses SIMD lanes.
    # Rows are not sliced, because the reference counts of slices would take longer than the sums.
    r, i, step = uintp(row), uintp(start), uintp(stride)
    while i + uintp(3) * step < uintp(stop):  # four at a time, to load and store a total once
        j, k, n = i + step, i + uintp(2) * step, i + uintp(3) * step
        t_i, t_j, t_k, t_n = target[i], target[j], target[k], target[n]
        h_i, h_j, h_k, h_n = learnt[i], learnt[j], learnt[k], learnt[n]
        g_i, g_j, g_k, g_n = undone[i], undone[j], undone[k], undone[n]
        for lane in range(uintp(TILE)):
            e_i = t_i - right[i, lane] * (h_i * left[i, lane] + g_i)
            e_j = t_j - right[j, lane] * (h_j * left[j, lane] + g_j)
            e_k = t_k - right[k, lane] * (h_k * left[k, lane] + g_k)
            e_n = t_n - right[n, lane] * (h_n * left[n, lane] + g_n)
            total = (totals[r, lane] + e_i * e_i) + e_j * e_j
            totals[r, lane] = (total + e_k * e_k) + e_n * e_n
        i += uintp(4) * step
    while i < uintp(stop):
        for lane in range(uintp(TILE)):
            error = target[i] - right[i, lane] * (learnt[i] * left[i, lane] + undone[i])
            totals[r, lane] += error * error
        i += step
