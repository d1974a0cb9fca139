"""Planning for denoisers: exact for each coordinate, and one plan for all coordinates.

Two facts make these plans simpler than those of operators (docs/theory.md has the proofs). The
value of a merge increases with the value of each part, and no plan's value exceeds the composite of
its steps, for any variance. So larger is always better, and every part but the noisiest should be
left unmerged: the best plans are *chains*. A chain starts as x_T -> x_{T-1}, and every merge
absorbs a run of teacher steps,

    E[T-1] = A_T
    E[u]   = best over m > u of the merge of E[m] with A_m, ..., A_{u+1}

where E[u] is the best value of the jump x_T -> x_u. Vanilla absorbs all steps in one run; BOOT has
runs of one step. Two theorems need no search:

    BOOT is optimal per merge wherever the shrinkage does not depend on where a jump from T stops:
    with the losses x_0 and v, and at constant speed.
    Vanilla is optimal for a total training time wherever the shrinkage of a jump from T is least
    for the jump to 0: with every loss and law.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from planner.beam import best_along, directions
from planner.compiled import compiled
from planner.fronts import Keep, nearest_to, undominated
from planner.joint import MEMORY_LIMIT
from planner.plan import Plan, Plans, merge, share_equal, step
from planner.problem import SHRINKAGE_ROUNDING, DenoiserProblem
from planner.value import w2_squared
from planner.watch import Watch

Array = NDArray[np.float64]

BEAM_ROUNDS = 4


def chain(num_steps: int, stops: list[int]) -> Plan:
    """The plan that begins with the teacher step T and absorbs the steps down to each stop in turn.

    Args:
        stops: Falling times after each merge, from below T - 1 to 0; empty for T = 1.
    """
    plan = step(num_steps)
    for stop in stops:
        plan = merge(plan, *(step(t) for t in range(plan.stop, stop, -1)))
    return plan


def is_boot_optimal(problem: DenoiserProblem) -> bool:
    """Whether theory proves BOOT optimal per merge, for every coordinate."""
    shrinkage = problem.shrinkage(problem.num_steps, slice(problem.num_steps))
    spread = shrinkage.max(axis=0) - shrinkage.min(axis=0)
    return bool((spread <= SHRINKAGE_ROUNDING * shrinkage.max(axis=0)).all())


def is_vanilla_optimal_in_total(problem: DenoiserProblem) -> bool:
    """Whether theory proves vanilla optimal for a total training time, for every coordinate."""
    shrinkage = problem.shrinkage(problem.num_steps, slice(problem.num_steps))
    return bool((shrinkage[0] <= shrinkage * (1.0 + SHRINKAGE_ROUNDING)).all())


def best_chains(problem: DenoiserProblem) -> Plans:
    """The optimal plan of every coordinate by itself, d of them; O(T**2) each.

    No plan is better, whatever the number of parts of its merges.
    """
    _, cuts = _search(problem)
    num_steps = problem.num_steps

    def plan_of(own: NDArray[np.int32]) -> Plan:
        stops = []
        stop = 0
        while stop < num_steps - 1:
            stops.append(stop)
            stop = int(own[stop])
        return chain(num_steps, stops[::-1])

    return share_equal(plan_of(own) for own in cuts)


def best_values(problem: DenoiserProblem) -> Array:
    """The operators that the optimal plans leave, (d,), without the plans."""
    return _search(problem)[0]


def _search(problem: DenoiserProblem) -> tuple[Array, NDArray[np.int32]]:
    """Best values, (d,), and the cuts of the best merges, (d, T)."""
    values, cuts = _best_chains(*_jumps_from_noise(problem))
    return values, cuts


def _jumps_from_noise(problem: DenoiserProblem) -> tuple[Array, Array, Array, Array, Array]:
    """What the searches read: A_t, and r, k, g and the travel of the jumps from T."""
    start = problem.num_steps
    stops = slice(start)
    ratio, factor = problem.coefficients
    return (
        np.ascontiguousarray(problem.operators.T),
        ratio[start, :start].copy(),
        factor[start, :start].copy(),
        np.ascontiguousarray(problem.shrinkage(start, stops).T),
        problem.travel(start, stops),
    )


@compiled(parallel=True)
def _best_chains(
    operators: Array, ratio: Array, factor: Array, shrinkage: Array, travel: Array
) -> tuple[Array, NDArray[np.int32]]:
    """E[0] of every coordinate, (d,), and for each E[u] the m that it was merged from, (d, T).

    Args:
        operators: A_t, (d, T).
        ratio, factor, travel: r, k and the travel of the jumps from T to u, (T,).
        shrinkage: g of the jumps from T to u, (d, T).
    """
    width, num_steps = operators.shape
    values = np.empty(width)
    cuts = np.zeros((width, num_steps), np.int32)
    for i in prange(width):
        best = np.empty(num_steps)
        estimate = np.empty(num_steps)
        for u in range(num_steps - 1, -1, -1):
            if u == num_steps - 1:
                best[u] = operators[i, u]
            else:
                best[u] = -np.inf
                product = 1.0
                for m in range(u + 1, num_steps):
                    product *= operators[i, m - 1]
                    target = best[m] * product
                    initial = ratio[u] + factor[u] * estimate[m]
                    reached = (1.0 - shrinkage[i, u]) * target + shrinkage[i, u] * initial
                    value = min(target, reached + travel[u])
                    if value >= best[u]:  # of equal values that of the longest run
                        best[u], cuts[i, u] = value, m
            estimate[u] = (best[u] - ratio[u]) / factor[u]
        values[i] = best[0]
    return values, cuts


def counted_chains(problem: DenoiserProblem, most: int) -> tuple[Array, NDArray[np.int32]]:
    """The best chains of exactly n merges, for n = 0..``most``; O(T**2) for each n.

    Returns:
        Their operators, (d, most + 1), -inf where there is no such chain; and where their merges
        begin, (d, T, most + 1), for ``chain_of_cuts``.
    """
    values, cuts = _counted_chains(*_jumps_from_noise(problem), most)
    return values, cuts


def chain_of_cuts(cuts: NDArray[np.int32], count: int) -> Plan:
    """The chain of ``count`` merges of one coordinate.

    Args:
        cuts: Where merges begin, (T, n + 1), from ``counted_chains``.
    """
    stops = []
    stop = 0
    for number in range(count, 0, -1):
        stops.append(stop)
        stop = int(cuts[stop, number])
    return chain(len(cuts), stops[::-1])


@compiled(parallel=True)
def _counted_chains(
    operators: Array, ratio: Array, factor: Array, shrinkage: Array, travel: Array, most: int
) -> tuple[Array, NDArray[np.int32]]:
    """E[0] of every coordinate by the number of merges; ``_best_chains`` explains the arguments."""
    width, num_steps = operators.shape
    values = np.empty((width, most + 1))
    cuts = np.zeros((width, num_steps, most + 1), np.int32)
    for i in prange(width):
        best = np.full((num_steps, most + 1), -np.inf)
        best[num_steps - 1, 0] = operators[i, num_steps - 1]
        for u in range(num_steps - 2, -1, -1):
            product = 1.0
            for m in range(u + 1, num_steps):
                product *= operators[i, m - 1]
                for n in range(1, most + 1):
                    first = best[m, n - 1]
                    if first == -np.inf:
                        continue
                    initial = ratio[u] + factor[u] * (first - ratio[m]) / factor[m]
                    target = first * product
                    g = shrinkage[i, u]
                    value = min(target, (1.0 - g) * target + g * initial + travel[u])
                    if value >= best[u, n]:
                        best[u, n], cuts[i, u, n] = value, m
        values[i] = best[0]
    return values, cuts


def joint_chain(
    problem: DenoiserProblem,
    solver: str,
    memory_limit: int = MEMORY_LIMIT,
    watch: Watch | None = None,
) -> Plan:
    """One plan for all coordinates.

    Args:
        solver: ``greedy``: each E[u] keeps the candidate nearest to the composite of its steps, a
            heuristic for d >= 2. ``pareto``: each keeps all candidates that no other dominates,
            which is exact. ``beam``: each keeps a few candidates, best in several directions.
        memory_limit: Bytes that the candidates of one E[u] may take in ``pareto``.
        watch: Shows the progress. When its time is up, ``beam`` gives its best plan so far.

    Raises:
        ValueError: candidates past ``memory_limit``.
        TimeoutError: the time of ``watch`` was up before the first plan.
    """
    watch = watch or Watch(solver)
    inner = problem.problem
    target = inner.on_unit_noise(inner.composite)

    def loss(plan: Plan) -> float:
        return float(w2_squared(inner.on_unit_noise(problem.student_operator(plan)), target))

    if solver == "pareto":
        return _best_joint_chain(problem, undominated(np.ones_like(target)), watch, memory_limit)
    best = _best_joint_chain(problem, None, watch)
    if solver == "greedy":
        return best
    for _ in range(BEAM_ROUNDS):
        operator = inner.on_unit_noise(problem.student_operator(best))
        weights = directions(operator, target, np.ones_like(target), inner.variances)
        try:
            found = _best_joint_chain(problem, best_along(weights), watch)
        except TimeoutError:
            break
        if loss(found) >= loss(best):
            break
        best = found
    return best


def _best_joint_chain(
    problem: DenoiserProblem, keep: Keep | None, watch: Watch, memory_limit: int | None = None
) -> Plan:
    """The chain nearest to the composite among those that the kept candidates form.

    Args:
        keep: Which candidates E[u] retains; without it, the one nearest to its steps' composite.
    """
    operators, num_steps = problem.operators, problem.num_steps
    weigh = problem.problem.on_unit_noise  # every candidate is a jump from x_T
    composites = np.cumprod(operators[::-1], axis=0)[::-1]  # row u: of the jump x_T -> x_u
    values = {num_steps - 1: operators[-1:]}
    origins: dict[int, list[tuple[int, int]]] = {}
    for u in watch.rounds(range(num_steps - 2, -1, -1), "step"):
        runs = np.cumprod(operators[u:-1], axis=0)  # row m - u - 1: of the steps from m to u
        cuts = range(num_steps - 1, u, -1)  # the direct merge comes first
        size = sum(values[m].nbytes for m in cuts)
        if memory_limit is not None and size > memory_limit:
            raise ValueError(
                f"the steps {u + 1}..{num_steps} have candidates of {size} bytes, past the memory "
                f"limit of {memory_limit}; plan fewer steps or coordinates, or use the solver beam"
            )
        candidates = np.concatenate(
            [problem.merged(num_steps, m, u, values[m], values[m] * runs[m - u - 1]) for m in cuts]
        )
        places = [(m, row) for m in cuts for row in range(len(values[m]))]
        outputs = weigh(candidates)
        rows = (keep or nearest_to(weigh(composites[u])))((u + 1, num_steps), outputs)
        values[u], origins[u] = candidates[rows], [places[row] for row in rows.tolist()]

    if num_steps == 1:
        return step(1)
    nearest = nearest_to(weigh(composites[0]))
    u, row = 0, int(nearest((1, num_steps), weigh(values[0]))[0])
    stops = []
    while u < num_steps - 1:
        stops.append(u)
        u, row = origins[u][row]
    return chain(num_steps, stops[::-1])
