"""One plan for all coordinates, by one of three solvers, with a certificate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.beam import beam_blocks
from planner.fronts import best_blocks, interval_fronts, nearest_to, undominated
from planner.per_dimension import check_num_operators, few_step_plans, optimal_values
from planner.plan import Plan
from planner.problem import MergeProblem
from planner.value import product_operator, w2_rounding, w2_squared

Array = NDArray[np.float64]

SOLVERS = ("greedy", "beam", "pareto")
MEMORY_LIMIT = 64 << 20  # bytes of candidates of one block


@dataclass(frozen=True, eq=False)
class JointPlan:
    """What a solver found, among the plans that Algorithm 1 tries: direct merges and pairs."""

    solver: str
    blocks: tuple[Plan, ...]  # one plan an operator that is left, noisiest first
    operator: Array  # of the whole student, (d,)
    w2_squared: float
    lower_bound: float  # sum of the coordinates' own optima: no joint plan is below
    optimal: bool  # proven, by the solver or by meeting the lower bound within rounding

    @property
    def gap(self) -> float:
        """W2**2 above the lower bound; an optimal plan may have one."""
        return self.w2_squared - self.lower_bound


def plan_jointly(
    problem: MergeProblem,
    solver: str,
    num_operators: int = 1,
    memory_limit: int = MEMORY_LIMIT,
) -> JointPlan:
    """Plan for all coordinates at once.

    Args:
        solver: ``greedy``, [OM] Algorithm 1, corrected: every block keeps the candidate nearest to
            the surrogate, a heuristic for d >= 2, where a block that is best by itself need not be
            the best part of the whole ([OM] Theorem 4.1 fails); ``pareto``, exact; ``beam``,
            bounded fronts.
        num_operators: K, operators that the student keeps.
        memory_limit: Bytes that the candidates of one block may take in ``pareto``.

    Raises:
        ValueError: an unknown solver, K outside 1..T, or candidates past ``memory_limit``.
    """
    check_num_operators(num_operators, problem.num_steps)
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if len(problem.variances) == 1:  # all solvers are exact, and the scalar search is fast
        (blocks,) = few_step_plans(
            problem.operators, problem.shrinkage, problem.variances, num_operators
        )
    elif solver == "beam":
        blocks = beam_blocks(problem, num_operators)
    else:
        exact = solver == "pareto"
        keep = undominated(problem.direction) if exact else nearest_to(problem.surrogate)
        limit = memory_limit if exact else None
        fronts = interval_fronts(problem.operators, problem.shrinkage, keep, limit)
        blocks = best_blocks(fronts, num_operators, problem.surrogate, keep)
    operator = product_operator(blocks, problem.operators, problem.shrinkage)
    found = float(w2_squared(operator, problem.surrogate))
    bound = lower_bound(problem, num_operators)
    optimal = solver == "pareto" or meets(found, bound, problem.surrogate)
    return JointPlan(solver, blocks, operator, found, bound, optimal)


def lower_bound(problem: MergeProblem, num_operators: int = 1) -> float:
    """Sum of the coordinates' own optima: W2**2 of students with a plan for each coordinate."""
    best = optimal_values(
        problem.operators, problem.shrinkage, problem.variances, num_operators=num_operators
    )
    return float(w2_squared(best, problem.surrogate))


def meets(found: float, bound: float, surrogate: Array) -> bool:
    """Whether W2**2 is its lower bound but for the rounding of the operators."""
    return found - bound <= w2_rounding(found, surrogate)
