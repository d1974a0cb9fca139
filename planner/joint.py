"""Find one plan for all coordinates with one of three solvers, and bound its error from below.

``joint_blocks`` gives the plan. ``plan_jointly`` also compares it with a lower bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.beam import beam_blocks
from planner.fronts import best_blocks, interval_fronts, undominated
from planner.greedy import greedy_blocks
from planner.per_dimension import check_num_operators, few_step_plans, optimal_values
from planner.plan import Plans
from planner.problem import MergeProblem, on_unit_noise
from planner.value import product_operator, w2_rounding, w2_squared
from planner.watch import Watch

Array = NDArray[np.float64]

SOLVERS = ("greedy", "beam", "pareto")
MEMORY_LIMIT = 64 << 20
"""Bytes that the candidates of one block may take."""


def joint_blocks(
    problem: MergeProblem,
    solver: str,
    num_operators: int = 1,
    memory_limit: int = MEMORY_LIMIT,
    watch: Watch | None = None,
) -> Plans:
    """Plans of K blocks that tile all steps, noisiest first, each for all coordinates at once.

    All solvers choose among the plans that Algorithm 1 tries: direct merges and pairs.

    Args:
        solver: ``greedy``, [OM] Algorithm 1, corrected: every block keeps the candidate nearest to
            the surrogate. For d >= 2 this is a heuristic, because the block that is best by itself
            need not be the best part of the whole ([OM] Theorem 4.1 needs d = 1). ``pareto`` is
            exact: every block keeps all candidates that no other dominates. ``beam`` keeps a
            bounded number of candidates and improves the plan it finds.
        num_operators: K, the number of operators that the student keeps.
        memory_limit: Bytes that the candidates of one block may take in ``pareto``.
        watch: Shows the progress. When its time is up, ``beam`` gives its best plans so far.

    Raises:
        ValueError: an unknown solver, K outside 1..T, or candidates past ``memory_limit``.
        TimeoutError: the time of ``watch`` was up before the first plan.
    """
    check_num_operators(num_operators, problem.num_steps)
    problem = problem.from_unit_noise()
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if len(problem.variances) == 1:  # all solvers are exact there, and the scalar search is fast
        (blocks,) = few_step_plans(problem, num_operators)
        return blocks
    watch = watch or Watch(solver)
    if solver == "beam":
        return beam_blocks(problem, num_operators, watch)
    if solver == "greedy":
        return greedy_blocks(problem, num_operators, watch)
    keep = undominated(problem.direction)
    fronts = interval_fronts(problem, keep, memory_limit, watch)
    return best_blocks(fronts, num_operators, problem.surrogate, keep)


@dataclass(frozen=True, eq=False)
class JointPlan:
    """A solver's plan for all coordinates, its value, and a bound on the value of any such plan."""

    solver: str
    blocks: Plans
    """One plan per operator of the student, noisiest first."""
    operator: Array
    """Operator of the whole student, (d,)."""
    w2_squared: float
    """Squared distance of the student to the surrogate."""
    lower_bound: float
    """Sum of the coordinates' own optima; no joint plan is below."""
    optimal: bool
    """Whether the plan is proven optimal, by the solver or by meeting the lower bound."""

    @property
    def gap(self) -> float:
        """W2**2 above the lower bound. An optimal plan may have a gap above 0."""
        return self.w2_squared - self.lower_bound


def plan_jointly(
    problem: MergeProblem,
    solver: str,
    num_operators: int = 1,
    memory_limit: int = MEMORY_LIMIT,
) -> JointPlan:
    """The plan of ``joint_blocks`` with its value and a lower bound.

    Args:
        solver: ``greedy``, ``beam`` or ``pareto``.
        num_operators: K, the number of operators that the student keeps.
        memory_limit: Bytes that the candidates of one block may take in ``pareto``.

    Raises:
        ValueError: an unknown solver, K outside 1..T, or candidates past ``memory_limit``.
    """
    blocks = joint_blocks(problem, solver, num_operators, memory_limit)
    operator = product_operator(blocks, problem.operators, problem.shrinkage)
    start = problem.start_deviations
    target = on_unit_noise(problem.surrogate, start)
    found = float(w2_squared(on_unit_noise(operator, start), target))
    bound = lower_bound(problem, num_operators)
    optimal = solver == "pareto" or meets(found, bound, target)
    return JointPlan(solver, blocks, operator, found, bound, optimal)


def lower_bound(problem: MergeProblem, num_operators: int = 1) -> float:
    """W2**2 of students with an optimal plan for each coordinate; no joint plan is below.

    Args:
        num_operators: K, the number of operators that the student keeps.
    """
    problem = problem.from_unit_noise()
    best = optimal_values(problem, num_operators=num_operators)
    return float(w2_squared(best, problem.surrogate))


def meets(found: float, bound: float, surrogate: Array) -> bool:
    """Whether ``found`` equals the lower bound ``bound`` up to the rounding of the operators."""
    return found - bound <= w2_rounding(found, surrogate)
