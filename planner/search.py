"""Planning by dynamic programming over intervals of steps ([OM] Algorithm 1, corrected).

Candidates for the block [a..b], in closed intervals, with D[t, t] = A_t:

    direct   (1 - g_b) prod_{t=a..b} A_t + g_b A_b
    split m  D[m+1, b] * ((1 - g_b) D[a, m] + g_b),  m = a..b-1

The algorithm as printed skips A_a in the product and the split m = a; this is its repaired form.
Time O(d T**3), memory O(d T**2).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, merge, step

Array = NDArray[np.float64]
Choice = NDArray[np.intp]


def joint_plan(operators: Array, shrinkage: Array, surrogate: Array) -> Plan:
    """One plan for all coordinates: every block keeps the candidate nearest to the surrogate.

    Exact for d = 1. A heuristic for d >= 2, where a block that is best by itself need not be the
    best part of the whole ([OM] Theorem 4.1 fails).

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, d).
        surrogate: Target composite S, (d,).
    """

    def nearest(candidates: Array) -> Choice:  # (candidates, d) -> (1,)
        return np.argmin(np.square(surrogate - candidates).sum(axis=1), keepdims=True)

    choices = _best_choices(operators, shrinkage, nearest)
    return _build(choices[..., 0], operators)


def per_dimension_plans(operators: Array, shrinkage: Array, variances: Array) -> tuple[Plan, ...]:
    """The optimal plan of every coordinate by itself; arguments as for ``joint_plan``.

    Every block value lies at or above the product of its steps where lam <= 1, and at or below
    the surrogate where lam > 1, so the least, respectively largest, value is best in any whole.
    """
    towards = np.where(variances <= 1, 1.0, -1.0)

    def extreme(candidates: Array) -> Choice:  # (candidates, d) -> (d,)
        return np.argmin(towards * candidates, axis=0)

    choices = _best_choices(operators, shrinkage, extreme)
    return tuple(_build(choices[..., i], operators) for i in range(operators.shape[1]))


def _best_choices(
    operators: Array, shrinkage: Array, choose: Callable[[Array], Choice]
) -> NDArray[np.int32]:
    """Chosen candidate of every block [a..b]: 0 the direct merge, k the split m = a + k - 1.

    Returns:
        (T, T, 1 or d), indexed [a - 1, b - 1]. ``choose`` takes the first of equals, so ties
        (a block of two steps always is one) prefer the direct merge.
    """
    num_steps, width = operators.shape
    values = np.empty((num_steps, num_steps, width))
    values[np.arange(num_steps), np.arange(num_steps)] = operators
    products = operators.copy()  # row a: the product of the block that starts there
    choices: NDArray[np.int32] | None = None
    for length in range(2, num_steps + 1):
        for a in range(num_steps - length + 1):
            b = a + length - 1
            g = shrinkage[b]
            products[a] = products[a] * operators[b]
            direct = (1.0 - g) * products[a] + g * operators[b]
            splits = values[a + 1 : b + 1, b] * ((1.0 - g) * values[a, a:b] + g)
            candidates = np.concatenate([direct[None], splits])  # (length, d)
            chosen = choose(candidates)
            if choices is None:
                choices = np.zeros((num_steps, num_steps, len(chosen)), dtype=np.int32)
            choices[a, b] = chosen
            values[a, b] = np.take_along_axis(candidates, chosen[None], axis=0)[0]
    return np.zeros((num_steps, num_steps, width), np.int32) if choices is None else choices


def _build(choices: NDArray[np.int32], operators: Array) -> Plan:
    """The plan of the whole interval from the chosen candidates, (T, T)."""
    done: dict[tuple[int, int], Plan] = {}
    stack = [(1, len(operators))]
    while stack:  # T levels deep at worst, so no recursion
        a, b = stack[-1]
        chosen = int(choices[a - 1, b - 1])
        if a == b:
            done[a, b] = step(a)
        elif chosen == 0:
            done[a, b] = merge(*(step(t) for t in range(b, a - 1, -1)))
        else:
            m = a + chosen - 1
            waiting = [block for block in ((a, m), (m + 1, b)) if block not in done]
            if waiting:
                stack.extend(waiting)
                continue
            done[a, b] = merge(done[m + 1, b], done[a, m])
        stack.pop()
    return done[1, len(operators)]
