"""How many merges the best plan of a coordinate has, where its merges share a total time.

``planner.total_budget`` defines D[a, b, k], and finds the plan for a given number of merges M.
Which M is best needs the values D[1, T, M] only. Two facts spare most of them, and leave the answer
as it is, bit by bit:

    any plan   The best value at the shrinkage of M over all plans, whatever their number of merges,
               bounds the plans of M merges. It is one run of ``planner.per_dimension_kernel``. If
               it is below the value of vanilla, whose M is 1, by more than rounding, M is not
               tried. Where no left factor L can lie on the wrong side of 1, a merge
               R (L + g (1 - L)) gets worse with g, so the bound falls with M, and that of M = 2
               holds for all others.
    reach      A block of n steps makes at most n - 1 merges, and what surrounds it at most T - n.
               So D[1, T, M] needs a block of n steps only for  M - (T - n) <= k <= min(M, n - 1).

What is left is computed for LANES coordinates at once.
"""

import numba
import numpy as np
from numba import prange, uintp
from numpy.typing import NDArray

from planner.compiled import compiled
from planner.per_dimension_kernel import larger, solve

Array = NDArray[np.float64]

WORST = -np.inf
MARGIN = 1e-12
"""Relative differences of values that rounding may cause over hundreds of steps."""
LANES = 32


def best_merge_counts(
    operators: Array, rates: Array, direction: Array, total_time: float
) -> NDArray[np.int64]:
    """The best number of merges of each coordinate, the smallest of equally good ones, (d,).

    Args:
        operators, rates: A_t and r_t, (d, T), in C order; T is at least 2.
        direction: -1 where a smaller value is better, else +1, (d,).
    """
    is_open = _open_counts(operators, rates, direction, total_time)
    tasks = []
    for count in range(1, operators.shape[1]):
        columns = np.flatnonzero(is_open[:, count])
        for first in range(0, len(columns), LANES):
            chunk = columns[first : first + LANES]
            tasks.append([count, *chunk, *[chunk[-1]] * (LANES - len(chunk))])
    values = np.full(operators.shape, WORST)
    workers = min(len(tasks), int(numba.get_num_threads()))
    _fill_values(values, np.array(tasks), operators, rates, direction, total_time, workers)
    counts: NDArray[np.int64] = values.argmax(axis=1)
    return counts


def _open_counts(
    operators: Array, rates: Array, direction: Array, total_time: float
) -> NDArray[np.bool_]:
    """Which numbers of merges may be best, (d, T); column M."""
    width, num_steps = operators.shape
    undone = np.exp(-2.0 * total_time * rates[:, -1])
    direct = (1.0 - undone) * operators.prod(axis=1) + undone * operators[:, -1]
    beaten = direction * direct - MARGIN * np.abs(direct)

    def may_be_best(count: int, columns: NDArray[np.intp]) -> NDArray[np.bool_]:
        bounds = solve(
            operators[columns],
            np.exp(-2.0 * total_time / count * rates[columns]),
            direction[columns],
            False,
            1,
            np.empty((0, 0, 4), np.int32),
            np.empty((len(columns), 1), np.int32),
            min(len(columns), int(numba.get_num_threads())),
        )
        found: NDArray[np.bool_] = direction[columns] * bounds >= beaten[columns]
        return found

    is_open = np.ones((width, num_steps), np.bool_)
    if num_steps == 2:
        return is_open
    is_low, is_high = (operators <= 1.0).all(axis=1), (operators[:, :-1] >= 1.0).all(axis=1)
    falls = np.where(direction < 0, is_low, is_high)  # the bound, with M
    everyone = np.arange(width)
    is_open[:, 2], is_open[:, -1] = may_be_best(2, everyone), may_be_best(num_steps - 1, everyone)
    is_open[falls & ~is_open[:, 2], 2:] = False
    unknown = np.flatnonzero(is_open[:, 3:-1].any(axis=1) & ~(falls & is_open[:, -1]))
    if len(unknown):
        for count in range(3, num_steps - 1):
            is_open[unknown, count] = may_be_best(count, unknown)
    return is_open


@compiled(parallel=True)
def _fill_values(
    values: Array,
    tasks: NDArray[np.int64],
    operators: Array,
    rates: Array,
    direction: Array,
    total_time: float,
    num_workers: int,
) -> None:
    """Write D[1, T, M] times ``direction`` at [i, M] of ``values``, (d, T), in place.

    Args:
        tasks: Rows of a number of merges M and LANES coordinates, (n, 1 + LANES).
        num_workers: Number of tasks that are done at the same time.
    """
    num_steps = operators.shape[1]
    for worker in prange(num_workers):
        best = np.empty((num_steps, num_steps, num_steps, LANES))
        own = np.empty((num_steps, LANES))
        shrinkage = np.empty((num_steps, LANES))
        sides, scratch = np.empty(LANES), np.empty((2, LANES))
        for place in range(worker, len(tasks), num_workers):
            count, columns = tasks[place, 0], tasks[place, 1:]
            for lane in range(LANES):
                i = columns[lane]
                own[:, lane] = operators[i]
                shrinkage[:, lane] = np.exp(-2.0 * total_time / count * rates[i])
                sides[lane] = direction[i]
            _fill_blocks(best, own, shrinkage, sides, count, scratch)
            for lane in range(LANES):
                values[columns[lane], count] = best[0, num_steps - 1, count, lane]


@compiled()
def _fill_blocks(
    best: Array,
    operators: Array,
    shrinkage: Array,
    direction: Array,
    count: int,
    scratch: Array,
) -> None:
    """Write what D[1, T, M] needs for M = ``count`` of D[a, b, k] times ``direction``, in place.

    The numbers are computed as ``planner.total_budget.fill_counts`` computes them.

    Args:
        best: (T, T, T, LANES).
        operators, shrinkage: (T, LANES).
        scratch: (2, LANES).
    """
    last = len(operators) - 1
    product, factor = scratch[0], scratch[1]
    for b in range(last + 1):
        for lane in range(LANES):
            best[b, b, 0, lane] = direction[lane] * operators[b, lane]
            product[lane] = operators[b, lane]
        for a in range(b - 1, -1, -1):
            low, high = max(1, count - last + b - a), min(count, b - a)
            block = best[a, b]
            block[low : high + 1] = WORST
            for lane in range(LANES):
                if low == 1:
                    g = shrinkage[b, lane]
                    direct = (1.0 - g) * product[lane] * operators[a, lane]
                    direct += g * operators[b, lane]
                    block[1, lane] = direction[lane] * direct
                product[lane] *= operators[a, lane]
            if b - a == 1:  # the split of two steps is their direct merge
                continue
            for m in range(a, b):
                left, right = best[a, m], best[m + 1, b]
                left_low = max(min(1, m - a), count - last + m - a)
                right_low = max(min(1, b - m - 1), count - last + b - m - 1)
                for i in range(left_low, min(m - a, count - 1) + 1):
                    for lane in range(LANES):
                        g = shrinkage[b, lane]
                        factor[lane] = (1.0 - g) * direction[lane] * left[i, lane] + g
                    first = max(right_low, low - i - 1)
                    for j in range(first, min(b - m - 1, high - i - 1) + 1):
                        _take_larger(block, i + j + 1, right, j, factor)


@compiled(fastmath={"nnan", "nsz"})
def _take_larger(block: Array, k: int, right: Array, j: int, factor: Array) -> None:
    """Replace the numbers of a row that are smaller than those of this split, in place."""
    # Unsigned indices cannot count from the end, so LLVM uses SIMD lanes.
    for lane in range(uintp(len(factor))):
        value = right[uintp(j), lane] * factor[lane]
        block[uintp(k), lane] = larger(block[uintp(k), lane], value)
