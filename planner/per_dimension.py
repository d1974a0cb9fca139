"""Exact planning, one plan per coordinate.

For one coordinate, the best value of a block is also the best part of any whole. So the dynamic
program over blocks of steps ([OM] Algorithm 1, corrected) is exact. It compares (T**3 - T) / 6
splits per coordinate.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from planner.per_dimension_kernel import DIRECT, solve
from planner.plan import Plans, merge, step
from planner.problem import SHRINKAGE_ROUNDING, MergeProblem
from planner.strategies import CANONICAL
from planner.value import plan_operator

Array = NDArray[np.float64]


def per_dimension_plans(
    problem: MergeProblem, *, nary: bool = False, full_search: bool = False
) -> Plans:
    """The optimal plan of every coordinate by itself, d of them.

    Args:
        nary: Also try merges of more than two merged blocks, which [OM] Algorithm 1 does not.
        full_search: Search even where ``settled_by_theory`` knows the answer in O(T).
    """
    settled = settled_by_theory(problem)
    searched = np.flatnonzero((settled == "") | full_search)
    found = _search(problem.select(searched), nary, 1)
    known = {name: CANONICAL[name](problem.num_steps) for name in set(settled) - {""}}
    plans = {int(i): blocks[0] for i, blocks in zip(searched, found, strict=True)}
    return tuple(plans[i] if i in plans else known[str(name)] for i, name in enumerate(settled))


def few_step_plans(problem: MergeProblem, num_operators: int) -> tuple[Plans, ...]:
    """The best plans that leave K = ``num_operators`` operators: K plans for each coordinate.

    The K plans of a coordinate tile the steps, noisiest first. The product of their operators is
    as close to the surrogate as such plans can come.

    Raises:
        ValueError: K is not in 1..T.
    """
    check_num_operators(num_operators, problem.num_steps)
    if num_operators == 1:
        return tuple((plan,) for plan in per_dimension_plans(problem))
    return _search(problem, False, num_operators)


def optimal_values(
    problem: MergeProblem,
    *,
    nary: bool = False,
    num_operators: int = 1,
    full_search: bool = False,
) -> Array:
    """The operators that the optimal plans leave, (d,), without the plans.

    Args:
        nary: Also try merges of more than two merged blocks, which [OM] Algorithm 1 does not.
        num_operators: K, the number of operators that the student keeps.
        full_search: Search even where ``settled_by_theory`` knows the answer in O(T).

    Raises:
        ValueError: K is not in 1..T.
    """
    check_num_operators(num_operators, problem.num_steps)
    settled = settled_by_theory(problem)
    searched = (settled == "") | full_search | (num_operators > 1)
    values = np.empty(len(problem.variances))
    for name in set(settled[~searched]):
        known = ~searched & (settled == name)
        plan, easy = CANONICAL[str(name)](problem.num_steps), problem.select(known)
        values[known] = plan_operator(plan, easy.operators, easy.shrinkage)
    if searched.any():
        ends = np.empty((searched.sum(), num_operators), np.int32)
        no_plans = np.empty((0, 0, 4), np.int32)
        values[searched] = _solve(problem.select(searched), nary, no_plans, ends)
    return values


def settled_by_theory(problem: MergeProblem) -> NDArray[np.str_]:
    """The strategy that theory proves optimal for each coordinate, or "", (d,); O(T).

    ``sequential_boot`` where lam <= 1, every A_t <= 1 and g never rises with t ([OM] Theorem
    4.3); ``vanilla`` where lam > 1 and A_t >= 1 for all t < T ([OM] Theorem 4.2). These are the
    conditions that the proofs use, so they hold for any schedule and any shrinkage in [0, 1], and
    among all plans, n-ary ones included. On the cosine schedule they say lam <= 1 and lam >= lam0*.
    """
    operators, shrinkage, variances = problem.operators, problem.shrinkage, problem.variances
    share = ((shrinkage >= 0) & (shrinkage <= 1)).all(axis=0)
    falls = (np.diff(shrinkage, axis=0) <= SHRINKAGE_ROUNDING * shrinkage[:-1]).all(axis=0)
    boot = share & (variances <= 1) & (operators <= 1).all(axis=0) & falls
    vanilla = share & (variances > 1) & (operators[:-1] >= 1).all(axis=0)
    return np.where(boot, "sequential_boot", np.where(vanilla, "vanilla", ""))


def table_bytes(num_steps: int, width: int) -> int:
    """Peak bytes of a full search over ``width`` coordinates: one (T, T) table per thread."""
    return 8 * num_steps**2 * min(width, int(numba.get_num_threads()))


def check_num_operators(num_operators: int, num_steps: int) -> None:
    """Refuse a number of operators to leave that is not in 1..T.

    Raises:
        ValueError: with both numbers.
    """
    if not 1 <= num_operators <= num_steps:
        raise ValueError(
            f"num_operators must be from 1 to num_steps = {num_steps}, got {num_operators}"
        )


def _search(problem: MergeProblem, nary: bool, num_operators: int) -> tuple[Plans, ...]:
    """K plans for each coordinate, by full search."""
    num_steps, width = problem.operators.shape
    if not width:
        return ()
    ends = np.empty((width, num_operators), np.int32)
    # A plan has at most T - 1 merges. An n-ary plan has at most as many products besides.
    nodes = np.full((width, (1 + nary) * num_steps, 4), -1, np.int32)
    _solve(problem, nary, nodes, ends)
    # Many coordinates get the same plan. It is built once, and later valued once for all of them.
    built: dict[bytes, Plans] = {}
    keys = [nodes[i].tobytes() + ends[i].tobytes() for i in range(width)]
    for i, key in enumerate(keys):
        if key not in built:
            built[key] = _plans(nodes[i], ends[i])
    return tuple(built[key] for key in keys)


def _solve(
    problem: MergeProblem, nary: bool, nodes: NDArray[np.int32], ends: NDArray[np.int32]
) -> Array:
    """Best values, (d,); the plans' ``nodes`` and ``ends`` are written in place."""
    values: Array = solve(
        np.ascontiguousarray(problem.operators.T),
        np.ascontiguousarray(problem.shrinkage.T),
        problem.direction,
        nary,
        ends.shape[1],
        nodes,
        ends,
        min(len(problem.variances), numba.get_num_threads()),
    )
    return values


def _plans(nodes: NDArray[np.int32], ends: NDArray[np.int32]) -> Plans:
    """The plans of the blocks that end at ``ends``, noisiest first, from the kernel's nodes."""
    steps = [(step(t),) for t in range(1, int(ends[-1]) + 2)]
    parts: dict[tuple[int, int, bool], Plans] = {}

    def parts_of(a: int, b: int, is_product: bool) -> Plans:
        return steps[a] if a == b else parts.pop((a, b, is_product))

    nary = bool(nodes[:, 3].max(initial=0) > 0)
    for a, b, cut, is_product in nodes[nodes[:, 0] >= 0][::-1].tolist():
        if cut != DIRECT:
            m = a + cut
            inner = parts_of(m + 1, b, False) + parts_of(a, m, nary and m > a)
            parts[a, b, bool(is_product)] = inner if is_product else (merge(*inner),)
        elif is_product:
            parts[a, b, True] = parts.pop((a, b, False))
        else:
            parts[a, b, False] = (merge(*(step(t + 1) for t in range(b, a - 1, -1))),)
    starts = [0, *(end + 1 for end in ends[:-1].tolist())]
    blocks = list(zip(starts, ends.tolist(), strict=True))
    return tuple(parts_of(a, b, False)[0] for a, b in reversed(blocks))
