"""The best division of a total training time over the merges of a plan.

Merge j of a plan takes the share x_j of the total time s, x_j >= 0 and sum_j x_j = 1. With g_j =
exp(-2 s x_j r_j) its student ends at (1 - g_j) P + g_j I, where P is the product of its parts and I
what it begins with (``planner.problem``). The final operator is a smooth function V(x), and the
best split of a plan minimises W2**2 = sum_i n_T,i (S_i - V_i(x))**2 over the simplex.

``best_split`` descends on log W2**2 by spectral projected gradients (Birgin, Martinez & Raydan
2000, algorithm SPG2) from several starts. Where the plan is a chain that absorbs teacher steps, as
sequential BOOT, and every lam <= 1, log V is convex: V = A_T prod_j (Q_j + (1 - Q_j) g_j) with
0 <= Q_j <= 1, and each factor is a sum of exponentials. Then V >= S is convex, W2**2 is convex too,
and the descent ends at the global minimum. Elsewhere it ends at a local one, and nothing proves
that no split is better.

For a single coordinate the best plan and the best split together are known (``best_alone``). No
plan and no split of the time s end with an operator that is nearer to the surrogate than

    V* = A_T ((1 - g_T) prod_{t<T} B_t + g_T),  g_T = exp(-2 s r_T),  B_t = max(A_t, 1) for lam > 1

(docs/theory.md, section 4), and merges that do not train reach it: a merge without training keeps
its noisiest part, which drops the steps that contract.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.budget import Budget, Shares
from planner.plan import Plan, by_merge, merge, merges, step
from planner.problem import Problem

Array = NDArray[np.float64]

MOST_STARTS = 1000
"""Starts times merges, at most. Beside the equal split, every start favours one merge: some minima
lie near these corners."""
MOST_ITERATIONS = 300
MEMORY = 10
"""Values among which the largest must fall, so that long steps along a valley are taken."""
ARMIJO = 1e-4
STATIONARY = 1e-9
"""Relative decrease of W2**2 to first order below which a split counts as a minimum."""


def operator_of_split(problem: Problem, plan: Plan, shares: Shares, budget: Budget) -> Array:
    """Operator of the student whose merges take these shares of the time of ``budget``, (d,)."""
    times = by_merge(plan, [budget.train_time * share for share in shares])

    def shrinkage(jump: Plan) -> Array:
        rate = _rate(problem, jump, budget)
        g: Array = np.exp(-2.0 * times[jump.start, jump.stop] * rate)
        return g

    operator = problem.operator_of(plan, shrinkage)
    return operator


def best_split(problem: Problem, plan: Plan, budget: Budget) -> Shares:
    """The best split found of the time of ``budget`` over one plan for all coordinates.

    No start that is tried, the equal split among them, is better.

    Args:
        problem: Students under gradient flow; their target is ``problem.target``.
    """
    tree = _Tree.of(problem, plan, budget)
    count = len(tree.nodes)
    if count <= 1:
        return (1.0,) * count
    equal = np.full(count, 1.0 / count)
    favoured = np.unique(
        np.linspace(count - 1, 0, min(count, max(2, MOST_STARTS // count)), dtype=int)
    )
    starts = [equal, *(0.9 * np.eye(count)[favoured] + 0.1 * equal)]
    found = [_descend(tree.log_error, start) for start in starts]
    _, shares = min(found, key=lambda pair: pair[0])
    return tuple(shares.tolist())


def best_alone(operators: Array, is_above_1: bool) -> tuple[Plan, Shares]:
    """The best plan of a single coordinate together with its best split.

    Args:
        operators: Teacher steps A_t, (T,).
        is_above_1: Whether lam > 1, so that larger operators are better.
    """
    num_steps = len(operators)
    contracts = is_above_1 & (operators[:-1] < 1.0)
    if num_steps > 2 and contracts.all() and len(contracts):
        # Every training of the whole does harm. So all of it goes to a student that is dropped.
        rest = merge(*(step(t) for t in range(num_steps - 1, 0, -1)))
        return merge(step(num_steps), rest), (1.0, 0.0)
    parts: list[Plan] = []
    first = num_steps  # the step that the run of contracting steps below it is dropped for
    for t in range(num_steps - 1, -1, -1):
        if t == 0 or not contracts[t - 1]:
            run = [step(number) for number in range(first, t, -1)]
            parts.append(merge(*run) if len(run) > 1 else run[0])
            first = t
    if len(parts) == 1:
        parts = list(parts[0].parts)
    plan = merge(*parts) if len(parts) > 1 else step(num_steps)
    count = sum(1 for _ in merges(plan))
    return plan, (0.0,) * (count - 1) + (1.0,) * min(count, 1)


def drop_plans(num_steps: int) -> list[Plan]:
    """Plans of two merges: the steps T..c+1 first, then that student with the steps c..1.

    With a small share of the first merge they drop the noisiest steps for all coordinates.
    """
    return [
        merge(
            merge(*(step(t) for t in range(num_steps, cut, -1))),
            *(step(t) for t in range(cut, 0, -1)),
        )
        for cut in range(1, num_steps - 1)
    ]


def _rate(problem: Problem, jump: Plan, budget: Budget) -> Array:
    """r of the shrinkage exp(-2 s r) of a merge, (d,)."""
    rate: Array = problem.weights[jump.start, jump.stop] * problem.second_moments[jump.start - 1]
    return rate if budget.decay is None else budget.decay(rate)


@dataclass(frozen=True, eq=False)
class _Node:
    """A merge. Its parts that are merges are numbers of nodes."""

    first: int | None
    """The noisiest part, if it is a merge."""
    first_step: Array
    """Operator of the noisiest part, if that is a teacher step, (d,)."""
    others: list[int]
    """The other parts that are merges."""
    steps: Array
    """Product of the other parts that are teacher steps, (d,)."""
    offset: float
    """The student begins with offset + slope * (operator of the noisiest part)."""
    slope: float


@dataclass(frozen=True, eq=False)
class _Tree:
    """A plan as numbers, with the error of its student as a function of the split."""

    nodes: list[_Node]
    """In execution order."""
    exponents: Array
    """-2 s r, (M, d): the logarithm of g for the share 1."""
    target: Array
    """S, (d,)."""
    weights: Array
    """n_T, (d,)."""

    @staticmethod
    def of(problem: Problem, plan: Plan, budget: Budget) -> "_Tree":
        number: dict[tuple[int, int], int] = {}
        nodes = []
        one, none = np.ones_like(problem.variances), np.zeros_like(problem.variances)
        for jump in merges(plan):
            first, *others = jump.parts
            steps = [part.start - 1 for part in others if not part.parts]
            at_0 = problem.initial(jump.start, first.stop, jump.stop, none)
            at_1 = problem.initial(jump.start, first.stop, jump.stop, one)
            nodes.append(
                _Node(
                    first=number[first.start, first.stop] if first.parts else None,
                    first_step=problem.operators[first.start - 1],
                    others=[number[part.start, part.stop] for part in others if part.parts],
                    steps=problem.operators[steps].prod(axis=0),
                    offset=float(at_0[0]),
                    slope=float(at_1[0] - at_0[0]),
                )
            )
            number[jump.start, jump.stop] = len(nodes) - 1
        rates = [_rate(problem, jump, budget) for jump in merges(plan)]
        exponents = -2.0 * budget.train_time * np.reshape(rates, (len(rates), len(one)))
        return _Tree(nodes, exponents, problem.target, problem.on_unit_noise(one) ** 2)

    def log_error(self, shares: Array) -> tuple[float, Array]:
        """log W2**2 of a split, and its gradient, (M,)."""
        g = np.exp(self.exponents * shares[:, None])
        firsts, products, starts, values = (np.empty_like(g) for _ in range(4))
        for j, node in enumerate(self.nodes):
            first = node.first_step if node.first is None else values[node.first]
            product = first * node.steps
            for other in node.others:
                product = product * values[other]
            firsts[j], products[j] = first, product
            starts[j] = node.offset + node.slope * first
            values[j] = (1.0 - g[j]) * product + g[j] * starts[j]
        gap = values[-1] - self.target
        error = float((self.weights * gap**2).sum())
        if error == 0.0:
            return -np.inf, np.zeros_like(shares)

        slopes = np.zeros_like(g)  # of the error in every value
        slopes[-1] = 2.0 * self.weights * gap
        for j in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[j]
            in_product = slopes[j] * (1.0 - g[j])
            for other in node.others:
                rest = firsts[j] * node.steps
                for beside in node.others:
                    if beside != other:
                        rest = rest * values[beside]
                slopes[other] = in_product * rest
            if node.first is not None:
                rest = node.steps
                for beside in node.others:
                    rest = rest * values[beside]
                slopes[node.first] = in_product * rest + slopes[j] * g[j] * node.slope
        gradient = (slopes * (starts - products) * g * self.exponents).sum(axis=1)
        return float(np.log(error)), gradient / error


def _descend(function: Callable[[Array], tuple[float, Array]], start: Array) -> tuple[float, Array]:
    """The least value met, and where, by spectral projected gradients on the simplex.

    Args:
        function: x -> value and gradient.
    """
    x, (value, gradient) = start, function(start)
    least = value, x
    recent = [value]
    length = 1.0 / max(1.0, float(np.abs(gradient).max()))
    for _ in range(MOST_ITERATIONS):
        if not np.isfinite(value) or gradient @ x - gradient.min() <= STATIONARY:
            break
        direction = _onto_simplex(x - length * gradient) - x
        slope = float(gradient @ direction)
        scale = 1.0
        while scale > 1e-12:
            moved = x + scale * direction
            new, new_gradient = function(moved)
            if new <= max(recent) + ARMIJO * scale * slope:
                break
            scale /= 2.0
        else:
            break
        change, bend = moved - x, float((moved - x) @ (new_gradient - gradient))
        length = float(np.clip(change @ change / bend, 1e-12, 1e6)) if bend > 0 else 1e6
        x, value, gradient = moved, new, new_gradient
        recent = [*recent[1 - MEMORY :], value]
        if value < least[0]:
            least = value, x
    return least


def _onto_simplex(point: Array) -> Array:
    """The nearest point with x_j >= 0 and sum_j x_j = 1 (Held, Wolfe & Crowder 1974)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(point) + 1)
    threshold = excess[np.flatnonzero(falling > excess)[-1]]
    nearest: Array = np.maximum(point - threshold, 0.0)
    return nearest
