"""Planning of single coordinates for a total time, beyond the steps of ``planner.total_budget``.

A plan of M merges trains each of them for the M-th part of the time. Write g(M) for the shrinkage
of that part, and V(p, M) for the value of the plan p at this shrinkage. The best plan maximises
V(p, M) over all M and all plans p of M merges. (Where ``direction`` is -1 it minimises, and every
inequality below turns.) Three bounds tell which M can matter:

    any plan   The best value at g(M) over all plans, whatever their number of merges, bounds the
               plans of M merges. It is one run of ``planner.per_dimension``.
    penalty    Let every merge cost a factor c >= 1: W = R ((1 - g) L + g) / c, where R and L are
               the W of the right and of the left part. A merge within L costs the whole at most
               the factor c, because g >= 0. So V(p, M) <= c**M W(p). The best W is one run too,
               and its plan has few merges where c is large.
    count      D[a, b, M] of ``planner.total_budget`` is exact, and affordable for small M.

Every run also yields a plan, which is valued at its own number of merges. M is settled once its
bound does not pass the best value so far by more than rounding. On the cosine schedule the first
bound settles all M for nearly all variances, since vanilla is the one plan with M = 1. For some
variances a little above 1 the best plan found is returned with a bound that it does not reach.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from planner.compiled import compiled
from planner.merge_counts import WORST
from planner.per_dimension import optimal_values, per_dimension_plans
from planner.plan import DIRECT, Plan, Plans, num_merges, plan_of_cuts, share_equal, step
from planner.problem import Problem, shrinkage_of
from planner.strategies import CANONICAL
from planner.total_budget import MOST_STEPS, fill_counts, plan_behind
from planner.value import plan_operator

Array = NDArray[np.float64]
Cuts = NDArray[np.int64]

ROUNDING = 1e-12
"""Relative differences of values that mean nothing: rounding over hundreds of steps."""
MOST_OPERATIONS = 2e9
"""Products that the exact program may take for all M of one coordinate: some two seconds."""
MOST_EXACT = 5e9
"""Operations of the exact program over all numbers of merges and coordinates: some ten seconds."""
PENALTIES = 7
"""Penalties that are tried for one M."""
SPLITS_PER_SECOND = 4e9
"""Speed of the search over all plans on one core of an AMD EPYC."""


def takes_bounds(num_steps: int, width: int) -> bool:
    """Whether bounds are used: where ``planner.total_budget`` refuses T steps or takes too long.

    Up to its ``MOST_STEPS`` steps, bounds and the exact program for what they leave open settle
    every coordinate, up to rounding.
    """
    return num_steps > MOST_STEPS or num_steps**6 / 120 * width > MOST_EXACT


def expected_seconds(num_steps: int, width: int) -> float:
    """About how long the first bound takes for ``width`` coordinates on one core."""
    return num_steps * (num_steps**3 - num_steps) / 6 * width / SPLITS_PER_SECOND


def proven_text(operator: Array, limits: Array, gap: float) -> str:
    """For how many coordinates the plan is proven optimal, in words.

    Args:
        operator: What the plans end with, (d,).
        limits: The operators that no plan of a coordinate passes, (d,).
        gap: How far the W2**2 of the plans is above its lower bound.
    """
    open_ones = np.abs(operator - limits) > 2 * ROUNDING * np.abs(limits)
    proven = int(open_ones.size - open_ones.sum())
    line = f"the plans of {proven} of {open_ones.size} coordinates are proven optimal"
    if proven == open_ones.size:
        return line
    return f"{line}; W2² of the others is at most {gap:.1e} above the optimum"


def bounded_plans(problem: Problem, rates: Array, total_time: float) -> tuple[Plans, Array]:
    """The best plan found of every coordinate when its merges share ``total_time`` equally.

    Args:
        rates: r_t of the shrinkages exp(-2 s r_t), (T, d).

    Returns:
        One plan per coordinate, and the operator that none passes, (d,): no plan of coordinate i
        is better than it, and it is the plan's own, up to rounding, where the plan is optimal.
    """
    num_steps, width = problem.operators.shape
    direction = problem.direction
    best = np.full(width, WORST)
    plans: list[Plan] = [step(1)] * width

    def offer(found: Plans, columns: NDArray[np.intp]) -> None:
        """Keep the plans, one per column, that are better than those so far."""
        for plan in set(map(id, found)):
            chosen = [place for place, other in enumerate(found) if id(other) == plan]
            own, own_plan = columns[chosen], found[chosen[0]]
            shrinkage = shrinkage_of(rates[:, own], total_time / max(1, num_merges(own_plan)))
            values = direction[own] * plan_operator(own_plan, problem.operators[:, own], shrinkage)
            for i, value in zip(own.tolist(), values.tolist(), strict=True):
                if value > best[i]:
                    best[i], plans[i] = value, own_plan

    everyone = np.arange(width)
    for make in CANONICAL.values():
        offer((make(num_steps),) * width, everyone)
    bounds = np.full((num_steps, width), WORST)  # row M; no plan but vanilla has M <= 1
    for count in range(2, num_steps):
        trained = problem.with_training(total_time / count, rates)
        bounds[count] = direction * optimal_values(trained)

    def is_open() -> NDArray[np.bool_]:
        open_counts: NDArray[np.bool_] = bounds > best + ROUNDING * np.abs(best)
        return open_counts

    # The plans behind the bounds, valued at their own number of merges.
    for count in range(2, num_steps):
        columns = np.flatnonzero(is_open()[count])
        if len(columns):
            trained = problem.with_training(total_time / count, rates).select(columns)
            offer(per_dimension_plans(trained), columns)

    columns = np.flatnonzero(is_open().any(axis=0))
    if len(columns):
        cuts = np.empty((len(columns), num_steps, num_steps), np.int64)
        own_bounds, own_best = bounds[:, columns].T.copy(), best[columns]
        _tighten(
            np.ascontiguousarray(problem.operators[:, columns].T),
            np.ascontiguousarray(rates[:, columns].T),
            direction[columns],
            total_time,
            own_bounds,
            own_best,
            cuts,
        )
        bounds[:, columns] = own_bounds.T
        for place, i in enumerate(columns.tolist()):
            if own_best[place] > best[i]:
                offer((plan_of_cuts(cuts[place]),), columns[place : place + 1])

    for i in np.flatnonzero(is_open().any(axis=0)).tolist():
        operators, own_rates = problem.operators[:, i].copy(), rates[:, i]
        left = MOST_OPERATIONS
        for count in np.flatnonzero(is_open()[:, i]).tolist():
            left -= num_steps**3 / 6 * min(count**2 / 2, num_steps**2 / 20)
            if left < 0:
                break
            table = np.full((num_steps, num_steps, count + 1), WORST)
            origins = np.empty((num_steps, num_steps, count + 1, 2), np.int16)
            shrinkage = shrinkage_of(own_rates, total_time / count)
            fill_counts(table, origins, operators, shrinkage, direction[i], count)
            bounds[count, i] = table[0, -1, count]
            if bounds[count, i] > best[i]:
                offer((plan_behind(origins, 0, num_steps - 1, count),), np.array([i]))
    return share_equal(plans), direction * np.maximum(best, bounds.max(axis=0))


@compiled()
def _penalised(
    table: Array, cuts: Cuts, counts: Cuts, operators: Array, shrinkage: Array, factor: float,
    direction: float,
) -> None:  # fmt: skip
    """Write the best W of every block, (T, T), its cut and its merges, in place.

    Args:
        factor: What every merge multiplies: 1 / c where larger is better, else c.
    """
    for b in range(len(operators)):
        table[b, b], counts[b, b] = operators[b], 0
        g, product = shrinkage[b], operators[b]
        for a in range(b - 1, -1, -1):
            best = factor * ((1.0 - g) * product * operators[a] + g * operators[b])
            product *= operators[a]
            cut = DIRECT
            if b - a > 1:
                for m in range(a, b):
                    value = factor * table[m + 1, b] * ((1.0 - g) * table[a, m] + g)
                    if direction * value > direction * best:
                        best, cut = value, m
            table[a, b], cuts[a, b] = best, cut
            counts[a, b] = 1 if cut == DIRECT else 1 + counts[a, cut] + counts[cut + 1, b]


@compiled()
def _value(cuts: Cuts, operators: Array, shrinkage: Array, scratch: Array) -> float:
    """The operator of the plan behind ``cuts``, at another shrinkage.

    Args:
        scratch: (T, T).
    """
    for b in range(len(operators)):
        scratch[b, b] = operators[b]
        g, product = shrinkage[b], operators[b]
        for a in range(b - 1, -1, -1):
            product *= operators[a]
            m = cuts[a, b]
            if m == DIRECT:
                scratch[a, b] = (1.0 - g) * product + g * operators[b]
            else:
                scratch[a, b] = scratch[m + 1, b] * ((1.0 - g) * scratch[a, m] + g)
    return float(scratch[0, len(operators) - 1])


@compiled(parallel=True)
def _tighten(
    operators: Array,
    rates: Array,
    direction: Array,
    total_time: float,
    bounds: Array,
    best: Array,
    best_cuts: Cuts,
) -> None:
    """Lower the bounds by penalties, and raise the best values, in place.

    Args:
        operators, rates: A_t and r_t, (d, T).
        bounds: Of ``direction`` times the value, for each number of merges, (d, T).
        best: ``direction`` times the best value so far, (d,).
        best_cuts: The cuts of a better plan, if one is found, (d, T, T).
    """
    width, num_steps = operators.shape
    for i in prange(width):
        table = np.empty((num_steps, num_steps))
        scratch = np.empty((num_steps, num_steps))
        cuts = np.empty((num_steps, num_steps), np.int64)
        counts = np.empty((num_steps, num_steps), np.int64)
        start = 1e-6
        for count in range(num_steps - 1, 1, -1):
            shrinkage = np.exp(-2.0 * total_time / count * rates[i])
            low, high, penalty = 1e-10, 1.0, start
            for _ in range(PENALTIES):
                if bounds[i, count] <= best[i] + ROUNDING * abs(best[i]):
                    break
                factor = np.exp(-direction[i] * penalty)
                _penalised(table, cuts, counts, operators[i], shrinkage, factor, direction[i])
                bound = table[0, num_steps - 1] * np.exp(direction[i] * penalty * count)
                bounds[i, count] = min(bounds[i, count], direction[i] * bound)
                found = counts[0, num_steps - 1]
                again = np.exp(-2.0 * total_time / found * rates[i])
                value = direction[i] * _value(cuts, operators[i], again, scratch)
                if value > best[i]:
                    best[i] = value
                    best_cuts[i] = cuts
                start = penalty
                if found == count:
                    break
                if found > count:
                    low, penalty = penalty, min(8.0 * penalty, np.sqrt(penalty * high))
                else:
                    high, penalty = penalty, max(penalty / 8.0, np.sqrt(penalty * low))
