"""Planning of single coordinates for students of K steps whose merges share a total training time.

The merges of all K plans of a coordinate train equally long: each for the M-th part of the time if
there are M of them. Let D_k[n] be the best value of the k-th share of the teacher's steps among
plans of exactly n merges, at the shrinkage of M merges. Every value lies on the same side of its
target and is at least 0 (``planner.plan_few_steps``), so the best student of M merges is E_K[M],

    E_0[0] = 1,   E_k[n] = best over j of E_{k-1}[n - j] D_k[j]

and the answer is the best E_K[M] over all M. D_k is the program over blocks and numbers of merges
of ``planner.total_budget``, or for denoisers one over chains: leaving a part unmerged takes fewer
merges and is better at the same shrinkage, so at the best M the plans are chains.

A bound comes first. At the shrinkage of M merges, the best plan of every share whatever its number
of merges bounds the students of M merges. Where the bound does not pass the best student so far by
more than rounding, M is settled. What is still open is left to the program, as far as its
operations last; the other coordinates are returned with a bound that their plans do not reach.
"""

from itertools import chain

import numpy as np
from numba import prange
from numpy.typing import NDArray

from planner.budget import Budget, operator_under
from planner.compiled import compiled
from planner.denoiser import best_values, chain_of_cuts, counted_chains
from planner.effort import MOST_SECONDS
from planner.merge_counts import WORST
from planner.per_dimension import optimal_values
from planner.plan import Plan, Plans, share_equal, step
from planner.problem import DenoiserProblem, MergeProblem, Problem
from planner.strategies import CANONICAL, equal_shares, plans_by_share, shifted
from planner.total_bounds import MOST_EXACT, ROUNDING, SPLITS_PER_SECOND
from planner.total_budget import fill_counts, plan_behind

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST_ENTRIES = 1 << 22
"""Entries of a table of the program, one table per thread: some 50 MB."""


def expected_seconds(problem: Problem, student_steps: int) -> float:
    """About how long the bounds take on one core."""
    sizes = [start - stop for start, stop in equal_shares(problem.num_steps, student_steps)]
    power = 3 if problem.parametrisation.kind == "operator" else 2
    splits = sum(size**power for size in sizes) / 6 * (problem.num_steps - student_steps)
    return float(splits * len(problem.variances) / SPLITS_PER_SECOND)


def plans_in_total(
    problem: Problem, budget: Budget, student_steps: int
) -> tuple[Plans, Array] | None:
    """The best plans found of every coordinate, and the operators that none passes, (d,).

    The plans of a coordinate are optimal, up to rounding, where their student has this operator.

    Args:
        budget: A total.
        student_steps: K, the steps of the student.

    Returns:
        One plan per step of the student and coordinate, K d of them, and the operators; None where
        the bounds would take more than ``MOST_SECONDS``.
    """
    if expected_seconds(problem, student_steps) > MOST_SECONDS:
        return None
    num_steps, width = problem.operators.shape
    spans = equal_shares(num_steps, student_steps)
    shares = [problem.section(*span) for span in spans]
    kind = problem.parametrisation.kind
    direction = problem.direction if kind == "operator" else np.ones(width)

    best = np.full(width, WORST)
    rows: list[list[Plan]] = [[] for _ in range(width)]  # for each coordinate its K plans
    for make in CANONICAL.values():
        plans = plans_by_share(make, num_steps, student_steps)
        everyone = [plan for plan in plans for _ in range(width)]
        values = direction * operator_under(budget, everyone, problem)
        for i in np.flatnonzero(values > best).tolist():
            best[i], rows[i] = values[i], list(plans)

    least = sum(start - stop > 1 for start, stop in spans)
    bounds = np.full((num_steps - student_steps + 1, width), WORST)
    for count in range(max(1, least), len(bounds)):
        time = budget.time_of_one(count)
        trained = [share.trained(time, budget.decay) for share in shares]
        bounds[count] = direction * np.prod([_best_of_any(own) for own in trained], axis=0)
    left = MOST_EXACT
    for count in range(max(1, least), len(bounds)):
        columns = np.flatnonzero(bounds[count] > best + ROUNDING * np.abs(best))
        each = [_operations(start - stop, count, kind) for start, stop in spans]
        operations = len(columns) * sum(each)
        if not len(columns) or operations > left:
            continue
        left -= operations
        time = budget.time_of_one(count)
        trained = [share.select(columns).trained(time, budget.decay) for share in shares]
        values, counts = best_students(trained, direction[columns], count)
        bounds[count, columns] = values
        for place, i in enumerate(columns.tolist()):
            if values[place] > best[i]:
                best[i] = values[place]
                only = np.array([i])
                rows[i] = [
                    shifted(_plan_of(share.select(only).trained(time, budget.decay), own), stop)
                    for share, own, (_, stop) in zip(
                        shares, counts[place].tolist(), spans, strict=True
                    )
                ]
    limits: Array = direction * np.maximum(best, bounds.max(axis=0, initial=WORST))
    # Outlines of teacher steps are equal, so plans are shared step by step of the student.
    steps = [share_equal(rows[i][k] for i in range(width)) for k in range(student_steps)]
    return tuple(chain.from_iterable(steps)), limits


def _operations(size: int, count: int, kind: str) -> float:
    """Operations of the program for one coordinate, ``count`` merges and a share of ``size``."""
    if kind == "denoiser":
        return size**2 / 2 * min(count, size)
    if size**2 * count > MOST_ENTRIES:
        return np.inf
    return size**3 / 6 * min(count**2 / 2, size**2 / 20)


def _best_of_any(trained: MergeProblem | DenoiserProblem) -> Array:
    """The best operators of one share, whatever the number of merges, (d,)."""
    if isinstance(trained, DenoiserProblem):
        return best_values(trained)
    return optimal_values(trained)


def best_students(
    trained: list[MergeProblem | DenoiserProblem], direction: Array, count: int
) -> tuple[Array, Counts]:
    """E_K[M] times ``direction``, (d,), and how many merges each share makes, (d, K).

    Args:
        trained: The problem of every share.
        count: M.
    """
    width = len(direction)
    best = np.full((width, count + 1), WORST)  # E_k times direction
    best[:, 0] = direction
    origins = []
    for share in trained:
        own = _values_of_counts(share, direction, min(count, share.num_steps - 1))
        longer = np.full_like(best, WORST)
        merges = np.zeros(best.shape, np.int64)
        for j in range(own.shape[1]):
            shorter, last = best[:, : count + 1 - j], own[:, j, None]
            exists = np.isfinite(shorter) & np.isfinite(last)
            product = direction[:, None] * np.where(exists, shorter, 1) * np.where(exists, last, 1)
            product[~exists] = WORST
            rows, places = np.nonzero(product > longer[:, j:])
            longer[rows, places + j] = product[rows, places]
            merges[rows, places + j] = j
        best = longer
        origins.append(merges)
    counts = np.empty((width, len(trained)), np.int64)
    remaining = np.full(width, count)
    for k in range(len(trained) - 1, -1, -1):
        counts[:, k] = origins[k][np.arange(width), remaining]
        remaining -= counts[:, k]
    return best[:, count], counts


def _values_of_counts(
    trained: MergeProblem | DenoiserProblem, direction: Array, most: int
) -> Array:
    """D_k[n] times ``direction`` for n = 0..``most``, (d, most + 1)."""
    if isinstance(trained, DenoiserProblem):
        return counted_chains(trained, most)[0]
    rows = np.ascontiguousarray(trained.operators.T), np.ascontiguousarray(trained.shrinkage.T)
    values: Array = _counted_blocks(*rows, direction, most)
    return values


@compiled(parallel=True)
def _counted_blocks(operators: Array, shrinkage: Array, direction: Array, most: int) -> Array:
    """D[1, T, n] times ``direction`` of every coordinate, (d, most + 1).

    Args:
        operators, shrinkage: A_t and g_t, (d, T).
    """
    width, num_steps = operators.shape
    found = np.empty((width, most + 1))
    for i in prange(width):
        best = np.empty((num_steps, num_steps, most + 1))
        cuts = np.empty((num_steps, num_steps, most + 1, 2), np.int16)
        fill_counts(best, cuts, operators[i], shrinkage[i], direction[i], most)
        found[i] = best[0, num_steps - 1]
    return found


def _plan_of(trained: MergeProblem | DenoiserProblem, count: int) -> Plan:
    """The best plan of ``count`` merges of a share, in its own times, for one coordinate."""
    num_steps = trained.num_steps
    if num_steps == 1:
        return step(1)
    if isinstance(trained, DenoiserProblem):
        return chain_of_cuts(counted_chains(trained, count)[1][0], count)
    best = np.empty((num_steps, num_steps, count + 1))
    cuts = np.empty((num_steps, num_steps, count + 1, 2), np.int16)
    rows = trained.operators[:, 0].copy(), trained.shrinkage[:, 0].copy()
    fill_counts(best, cuts, *rows, trained.direction[0], count)
    return plan_behind(cuts, 0, num_steps - 1, count)
