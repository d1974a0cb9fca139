"""Exact planning, every coordinate by itself.

For one coordinate a block's best value is best in any whole, so the dynamic program over blocks of
steps ([OM] Algorithm 1, corrected) is exact: (T**3 - T) / 6 splits a coordinate.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from planner.per_dimension_kernel import DIRECT, solve
from planner.plan import Plan, merge, step
from planner.problem import better_direction
from planner.strategies import CANONICAL
from planner.value import plan_operator

Array = NDArray[np.float64]

SHRINKAGE_ROUNDING = 1e-12  # relative, of shrinkages: at lam = 1 all g_t are one number


def per_dimension_plans(
    operators: Array,
    shrinkage: Array,
    variances: Array,
    *,
    nary: bool = False,
    full_search: bool = False,
) -> tuple[Plan, ...]:
    """The optimal plan of every coordinate by itself.

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, d).
        variances: lam, (d,).
        nary: Also try merges of more than two merged blocks (SPEC 4), which Algorithm 1 does not.
        full_search: Search even where ``settled_by_theory`` knows the answer in O(T).
    """
    settled = settled_by_theory(operators, shrinkage, variances)
    searched = np.flatnonzero((settled == "") | full_search)
    found = _search(operators, shrinkage, variances, searched, nary, 1)
    known = {name: CANONICAL[name](len(operators)) for name in set(settled) - {""}}
    plans = {int(i): blocks[0] for i, blocks in zip(searched, found, strict=True)}
    return tuple(plans[i] if i in plans else known[str(name)] for i, name in enumerate(settled))


def few_step_plans(
    operators: Array, shrinkage: Array, variances: Array, num_operators: int
) -> tuple[tuple[Plan, ...], ...]:
    """The best plans that leave K = ``num_operators`` operators, a tuple of K for each coordinate.

    The K plans tile the steps, noisiest first, and the product of their operators is as close to
    the surrogate as can be; arguments as for ``per_dimension_plans``.
    """
    check_num_operators(num_operators, len(operators))
    if num_operators == 1:
        return tuple((plan,) for plan in per_dimension_plans(operators, shrinkage, variances))
    every = np.arange(operators.shape[1])
    return _search(operators, shrinkage, variances, every, False, num_operators)


def optimal_values(
    operators: Array,
    shrinkage: Array,
    variances: Array,
    *,
    nary: bool = False,
    num_operators: int = 1,
    full_search: bool = False,
) -> Array:
    """The operators that the optimal plans leave, (d,), without the plans."""
    check_num_operators(num_operators, len(operators))
    settled = settled_by_theory(operators, shrinkage, variances)
    searched = (settled == "") | full_search | (num_operators > 1)
    values = np.empty(len(variances))
    for name in set(settled[~searched]):
        known = ~searched & (settled == name)
        plan = CANONICAL[str(name)](len(operators))
        values[known] = plan_operator(plan, operators[:, known], shrinkage[:, known])
    if searched.any():
        ends = np.empty((searched.sum(), num_operators), np.int32)
        nodes = np.empty((0, 0, 4), np.int32)
        values[searched] = _solve(
            operators[:, searched], shrinkage[:, searched], variances[searched], nary, nodes, ends
        )
    return values


def settled_by_theory(operators: Array, shrinkage: Array, variances: Array) -> NDArray[np.str_]:
    """The strategy that theory proves optimal for each coordinate, or "", (d,); O(T).

    ``sequential_boot`` where lam <= 1, every A_t <= 1 and g never rises with t ([OM] Theorem
    4.3); ``vanilla`` where lam > 1 and A_t >= 1 for all t < T ([OM] Theorem 4.2). The conditions
    are what the proofs use, so they hold for any schedule and any shrinkage in [0, 1], and among
    all plans, n-ary ones included. On the cosine schedule they say lam <= 1 and lam >= lam0*.
    """
    share = ((shrinkage >= 0) & (shrinkage <= 1)).all(axis=0)
    falls = (np.diff(shrinkage, axis=0) <= SHRINKAGE_ROUNDING * shrinkage[:-1]).all(axis=0)
    boot = share & (variances <= 1) & (operators <= 1).all(axis=0) & falls
    vanilla = share & (variances > 1) & (operators[:-1] >= 1).all(axis=0)
    return np.where(boot, "sequential_boot", np.where(vanilla, "vanilla", ""))


def table_bytes(num_steps: int, width: int) -> int:
    """Bytes that a full search over ``width`` coordinates holds at once: a table a thread."""
    return 8 * num_steps**2 * min(width, int(numba.get_num_threads()))


def check_num_operators(num_operators: int, num_steps: int) -> None:
    """Refuse a number of operators to leave that is not in 1..T."""
    if not 1 <= num_operators <= num_steps:
        raise ValueError(
            f"num_operators must be from 1 to num_steps = {num_steps}, got {num_operators}"
        )


def _search(
    operators: Array,
    shrinkage: Array,
    variances: Array,
    columns: NDArray[np.intp],
    nary: bool,
    num_operators: int,
) -> tuple[tuple[Plan, ...], ...]:
    num_steps, width = len(operators), len(columns)
    ends = np.empty((width, num_operators), np.int32)
    # A plan has at most T - 1 merges, and an n-ary one at most as many products besides.
    nodes = np.full((width, (1 + nary) * num_steps, 4), -1, np.int32)
    if width:
        _solve(operators[:, columns], shrinkage[:, columns], variances[columns], nary, nodes, ends)
    # Many coordinates get the same plan: it is built once, and later valued once for all of them.
    built: dict[bytes, tuple[Plan, ...]] = {}
    keys = [nodes[i].tobytes() + ends[i].tobytes() for i in range(width)]
    for i, key in enumerate(keys):
        if key not in built:
            built[key] = _plans(nodes[i], ends[i])
    return tuple(built[key] for key in keys)


def _solve(
    operators: Array,
    shrinkage: Array,
    variances: Array,
    nary: bool,
    nodes: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> Array:
    values: Array = solve(
        np.ascontiguousarray(operators.T),
        np.ascontiguousarray(shrinkage.T),
        better_direction(variances),
        nary,
        ends.shape[1],
        nodes,
        ends,
        min(len(variances), numba.get_num_threads()),
    )
    return values


def _plans(nodes: NDArray[np.int32], ends: NDArray[np.int32]) -> tuple[Plan, ...]:
    """The plans of the blocks that end at ``ends``, noisiest first, from the kernel's nodes."""
    steps = [(step(t),) for t in range(1, int(ends[-1]) + 2)]
    parts: dict[tuple[int, int, bool], tuple[Plan, ...]] = {}

    def parts_of(a: int, b: int, is_product: bool) -> tuple[Plan, ...]:
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
