"""Joint planning by beam search: every block keeps a few candidates; the plan is then improved.

Of many coordinates, those of nearly equal variance are represented by one of them
(``representatives``). Their plan is then compared with Algorithm 1's on all coordinates.

The search alternates two steps. Fronts of the candidates that are best along ``WIDTH`` directions
give a plan (``beam_blocks``). Then each block of that plan is planned again where it stands, out of
the candidates in the fronts, until no block gains (``improve``).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planner.fronts import (
    Block,
    Fronts,
    Keep,
    Rows,
    best_blocks,
    build,
    interval_fronts,
    join,
    nearest_to,
    single_front,
)
from planner.greedy import greedy_blocks, greedy_fronts
from planner.plan import Plan, Plans, merge, merges, step
from planner.problem import MergeProblem
from planner.value import plan_operator, product_operator, w2_rounding, w2_squared
from planner.watch import Watch

Array = NDArray[np.float64]

MOST_COORDINATES = 256
"""Coordinates above which the search works with representatives."""
LEAST = 1e-300  # where all variances are 0 or equal
WIDTH = 16
"""Candidates that a block keeps; 16 found the optimum wherever the tests know it."""
ROUNDS = 4
LEAST_GAIN = 1e-9
"""Relative gain of a round below which the search ends."""
NUM_WAVES = 5
SPREAD = 2.0
"""Standard deviation of the heights of the waves in ``directions``."""


def beam_blocks(problem: MergeProblem, num_operators: int, watch: Watch) -> Plans:
    """Plans of K = ``num_operators`` blocks, noisiest first, never worse than Algorithm 1's.

    Raises:
        TimeoutError: the time was up before the first plan, that of Algorithm 1.
    """
    if len(problem.variances) <= MOST_COORDINATES:
        return _searched(problem, num_operators, watch)

    def loss(blocks: Plans) -> float:
        operator = product_operator(blocks, problem.operators, problem.shrinkage)
        return float(w2_squared(operator, problem.surrogate))

    greedy = greedy_blocks(problem, num_operators, watch)
    try:
        found = _searched(representatives(problem, MOST_COORDINATES), num_operators, watch)
    except TimeoutError:
        return greedy
    return min((greedy, found), key=loss)


def representatives(problem: MergeProblem, most: int) -> MergeProblem:
    """At most ``most`` of the coordinates, each with the weight of those that it stands for.

        sum_i (S_i - a_i)**2  is about  sum_g n_g (S_g - a_g)**2

    The n_g coordinates of a group have nearly equal variances. The factor sqrt(n_g) is made part of
    the first step and of the surrogate, as in ``MergeProblem.from_unit_noise``. Groups are narrow
    both where variances are dense and where they are large and far apart: a group takes an equal
    share of the ranks and of the range of log lam together.
    """
    variances = problem.variances
    width = len(variances)
    order = np.argsort(variances)
    logs = np.log(np.maximum(variances[order], max(1e-6 * variances.max(), LEAST)))
    place = np.arange(width) / width + (logs - logs[0]) / max(logs[-1] - logs[0], LEAST)
    _, first, counts = np.unique(
        np.minimum(place / 2 * most, most - 1).astype(np.int64),
        return_index=True,
        return_counts=True,
    )
    chosen = order[first + counts // 2]  # the median of each group
    own = replace(problem.select(chosen), start_deviations=np.sqrt(counts))
    return own.from_unit_noise()


def _searched(problem: MergeProblem, num_operators: int, watch: Watch) -> Plans:
    """The plans of the search over all coordinates of ``problem``.

    Each round takes its directions from the best plan so far. The rounds end when one gains
    nothing, or when the time of ``watch`` is up.

    Raises:
        TimeoutError: the time was up before the first plan, that of Algorithm 1.
    """
    surrogate = problem.surrogate

    def operator_of(blocks: Plans) -> Array:
        return product_operator(blocks, problem.operators, problem.shrinkage)

    def loss(blocks: Plans) -> float:
        return float(w2_squared(operator_of(blocks), surrogate))

    fronts = greedy_fronts(problem, watch)
    greedy = best_blocks(fronts, num_operators, surrogate, nearest_to(surrogate))
    best = improve(greedy, problem, fronts, watch)
    for _ in range(ROUNDS):
        keep = best_along(
            directions(operator_of(best), surrogate, problem.direction, problem.variances)
        )
        try:
            fronts = interval_fronts(problem, keep, watch=watch)
        except TimeoutError:
            break
        found = best_blocks(fronts, num_operators, surrogate, keep)
        rivals = [improve(blocks, problem, fronts, watch) for blocks in (best, found)]
        winner = min(rivals, key=loss)
        if loss(winner) >= loss(best) * (1.0 - LEAST_GAIN):
            break
        best = winner
    return min((greedy, best), key=loss)


def directions(operator: Array, target: Array, direction: Array, variances: Array) -> Array:
    """Directions in which the candidates of a block are compared, (WIDTH, d).

    A direction weighs the coordinates of a block's relative change, with their signs. Row 0 is the
    gradient of W2**2 at a student with ``operator``: when a block changes by a share dx of itself,
    the product changes by the same share, and the loss by 2 |S - a| a |dx|. The other rows tilt the
    gradient by smooth random waves along the sorted variances, because coordinates of similar
    variance have similar optimal plans.

    Args:
        operator, target: a of the student and S, (d,).
        direction: -1 where a smaller operator is better, else +1, (d,).
        variances: lam, (d,).
    """
    gradient = np.abs(operator - target) * operator
    gradient = np.maximum(gradient, 1e-6 * gradient.max())  # no coordinate is left out
    width = len(gradient)
    place = np.argsort(np.argsort(variances)) / max(1, width - 1)
    frequency = np.arange(1, min(width - 1, NUM_WAVES) + 1)
    waves = np.cos(np.pi * frequency[:, None] * place)
    heights = SPREAD * np.random.default_rng(0).standard_normal((WIDTH, len(frequency)))
    heights[0] = 0.0
    weights: Array = direction * gradient * np.exp(heights @ waves)
    return weights


def best_along(weights: Array) -> Keep:
    """Keep the best candidate along each direction, relative to the first candidate.

    Args:
        weights: Directions, (n, d).
    """

    def keep(block: Block, candidates: Array) -> Rows:
        relative = np.divide(
            weights, candidates[0], out=np.zeros_like(weights), where=candidates[0] > 0
        )
        return np.unique(np.argmax(candidates @ relative.T, axis=0))

    return keep


def improve(
    blocks: Plans, problem: MergeProblem, fronts: Fronts, watch: Watch | None = None
) -> Plans:
    """Plan every block again, wholes before parts, out of kept candidates, until no block gains.

    Args:
        blocks: Plans that tile all steps, noisiest first; the student is their product.
        fronts: The fronts of all blocks of steps; new parts are taken from them.
        watch: Ends the improvement when its time is up.
    """
    watch = watch or Watch()
    while True:
        before = blocks
        for k, plan in enumerate(blocks):
            others = product_operator(
                blocks[:k] + blocks[k + 1 :], problem.operators, problem.shrinkage
            )
            better = _improve_one(plan, others, problem, fronts, watch)
            blocks = (*blocks[:k], better, *blocks[k + 1 :])
        if all(new is old for new, old in zip(blocks, before, strict=True)):
            return blocks


def _improve_one(
    plan: Plan, others: Array, problem: MergeProblem, fronts: Fronts, watch: Watch
) -> Plan:
    """One pass over the merges of ``plan``; the student is its operator times ``others``, (d,)."""
    waiting = [plan] if plan.parts else []
    while waiting and not watch.time_is_up():
        old = waiting.pop()
        new = _replanned(plan, old, others, problem, fronts)
        changed = _replace(plan, old, new)
        if _gains(changed, plan, others, problem):
            plan = changed
        else:
            new = old
        waiting += [part for part in new.parts if part.parts]
    return plan


def _gains(new: Plan, old: Plan, others: Array, problem: MergeProblem) -> bool:
    """Whether ``new`` is nearer the surrogate than ``old`` by more than rounding.

    Otherwise plans that tie would replace each other for ever.
    """
    operators, shrinkage, surrogate = problem.operators, problem.shrinkage, problem.surrogate
    found, before = (
        float(w2_squared(others * plan_operator(plan, operators, shrinkage), surrogate))
        for plan in (new, old)
    )
    return before - found > w2_rounding(before, surrogate)


def _replanned(
    plan: Plan, part: Plan, others: Array, problem: MergeProblem, fronts: Fronts
) -> Plan:
    """The best merge of kept candidates in the place that ``part`` has in ``plan``."""
    a, b = block = (part.stop + 1, part.start)
    values = _values(plan, problem)
    whole = others * values[plan.stop + 1, plan.start]
    slope = others * _slope(plan, block, values, problem)
    # The student's operator is affine in the value x of the block, so its error is error - slope x.
    error = problem.surrogate - (whole - slope * values[block])

    g = problem.shrinkage[b - 1]
    steps = problem.operators[a - 1 : b]
    direct = (1.0 - g) * steps.prod(axis=0) + g * steps[-1]
    sides = [(m, fronts[a, m], fronts[m + 1, b]) for m in range(a, b)]
    best = join(block, sides, g, nearest_to(error, slope), single_front(direct))
    m, left, right = best.origins[0].tolist()
    if m == 0:
        return merge(*(step(t) for t in range(b, a - 1, -1)))
    return merge(build(fronts, (m + 1, b), right), build(fronts, (a, m), left))


def _values(plan: Plan, problem: MergeProblem) -> dict[Block, Array]:
    """Block -> operator, (d,), for every merge of ``plan`` and every teacher step."""
    values = {(t + 1, t + 1): operator for t, operator in enumerate(problem.operators)}
    for jump in merges(plan):
        parts = [values[part.stop + 1, part.start] for part in jump.parts]
        g = problem.shrinkage[jump.start - 1]
        values[jump.stop + 1, jump.start] = parts[0] * ((1.0 - g) * np.prod(parts[1:], axis=0) + g)
    return values


def _slope(plan: Plan, block: Block, values: dict[Block, Array], problem: MergeProblem) -> Array:
    """Derivative of the operator of ``plan`` by the operator of one of its blocks, (d,)."""
    slope = np.ones_like(problem.surrogate)
    jump = plan
    while (jump.stop + 1, jump.start) != block:
        inside = next(k for k, part in enumerate(jump.parts) if part.stop < block[1] <= part.start)
        parts = [values[part.stop + 1, part.start] for part in jump.parts]
        g = problem.shrinkage[jump.start - 1]
        others = np.prod(parts[:inside] + parts[inside + 1 :], axis=0)
        slope = slope * ((1.0 - g) * others + (g if inside == 0 else 0.0))
        jump = jump.parts[inside]
    return slope


def _replace(plan: Plan, old: Plan, new: Plan) -> Plan:
    """``plan`` with ``new`` in the place of its part ``old``."""
    done: dict[Block, Plan] = {(t, t): step(t) for t in range(plan.stop + 1, plan.start + 1)}
    for jump in merges(plan):
        parts = [done[part.stop + 1, part.start] for part in jump.parts]
        same_place = (jump.start, jump.stop) == (old.start, old.stop)
        done[jump.stop + 1, jump.start] = new if same_place else merge(*parts)
    return done[plan.stop + 1, plan.start]
