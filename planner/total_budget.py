"""Exact planning, one plan per coordinate, where a plan's merges share a total training time.

A plan of M merges trains each of them for the M-th part of the time, so the number of merges
matters. Let D[a, b, k] be the best value of a block that takes exactly k merges, at the shrinkage
of M merges:

    D[a, b, k] = best over m and i + j = k - 1 of D[m+1, b, j] ((1 - g_b) D[a, m, i] + g_b)
    D[a, b, 1] = A_b ((1 - g_b) prod_{t=a..b-1} A_t + g_b)                          direct

The answer is the best D[1, T, M] over M. For every count by itself the program is exact for the
same reason as without counts. It takes of the order of T**6 operations, so T is at most 64;
``planner.total_bounds`` goes on from there.
"""

import numpy as np
from numpy.typing import NDArray

from planner.compiled import compiled
from planner.merge_counts import WORST, best_merge_counts
from planner.plan import Plan, Plans, merge, share_equal, step

Array = NDArray[np.float64]

MOST_STEPS = 64


@compiled()
def fill_counts(
    best: Array,
    cuts: NDArray[np.int16],
    operators: Array,
    shrinkage: Array,
    direction: float,
    most: int,
) -> None:
    """Write D[a, b, k] times ``direction`` for k <= ``most`` into ``best``, in place.

    ``cuts`` gets the cut m of each and the number of merges on its left.
    """
    num_steps = len(operators)
    for b in range(num_steps):
        best[b, b, 0] = direction * operators[b]
        g = shrinkage[b]
        product = operators[b]
        for a in range(b - 1, -1, -1):
            best[a, b, : most + 1] = WORST
            direct = (1.0 - g) * product * operators[a] + g * operators[b]
            product *= operators[a]
            best[a, b, 1] = direction * direct
            cuts[a, b, 1, 0] = -1
            for m in range(a, b):
                for i in range(min(1, m - a), min(m - a, most - 1) + 1):
                    factor = (1.0 - g) * direction * best[a, m, i] + g
                    first = min(1, b - m - 1)
                    for j in range(first, min(b - m - 1, most - 1 - i) + 1):
                        value = best[m + 1, b, j] * factor
                        if value > best[a, b, i + j + 1] and b - a > 1:
                            best[a, b, i + j + 1] = value
                            cuts[a, b, i + j + 1, 0] = m
                            cuts[a, b, i + j + 1, 1] = i


def plans_under_total(operators: Array, rates: Array, direction: Array, total_time: float) -> Plans:
    """The optimal plan of every coordinate when its merges share ``total_time`` equally.

    Args:
        operators, rates: A_t and r_t, (T, d), for shrinkages exp(-2 s r_t); row t - 1 belongs to t.
        direction: -1 where a smaller value is better, else +1, (d,).

    Raises:
        ValueError: more than ``MOST_STEPS`` steps.
    """
    num_steps = len(operators)
    check_num_steps(num_steps)
    if num_steps == 1:
        return (step(1),) * len(direction)
    rows = np.ascontiguousarray(operators.T), np.ascontiguousarray(rates.T)
    counts = best_merge_counts(*rows, direction, total_time)

    def plan_of(i: int, count: int) -> Plan:
        best = np.empty((num_steps,) * 3)
        cuts = np.empty((*(num_steps,) * 3, 2), np.int16)
        shrinkage = np.exp(-2.0 * total_time / count * rows[1][i])
        fill_counts(best, cuts, rows[0][i], shrinkage, direction[i], count)
        return plan_behind(cuts, 0, num_steps - 1, count)

    return share_equal(plan_of(i, count) for i, count in enumerate(counts.tolist()))


def check_num_steps(num_steps: int) -> None:
    """Refuse more steps than ``MOST_STEPS``.

    Raises:
        ValueError: with the number of steps.
    """
    if num_steps > MOST_STEPS:
        raise ValueError(
            f"num_steps = {num_steps} is too many to plan exactly for a total budget; "
            f"at most {MOST_STEPS}"
        )


def plan_behind(cuts: NDArray[np.int16], a: int, b: int, count: int) -> Plan:
    """The plan of ``count`` merges over the steps a..b, counted from 0, from ``fill_counts``."""
    # Recursion is safe, because the program takes too long for hundreds of merges.
    if a == b:
        return step(a + 1)
    m, left = cuts[a, b, count].tolist()
    if count == 1 and m < 0:
        return merge(*(step(t + 1) for t in range(b, a - 1, -1)))
    return merge(plan_behind(cuts, m + 1, b, count - 1 - left), plan_behind(cuts, a, m, left))
