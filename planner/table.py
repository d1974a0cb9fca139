"""Every strategy's plan for one problem, side by side."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from planner.beam import WIDTH
from planner.budget import Budget, operator_under, pose_under
from planner.joint import SOLVERS, meets, plan_jointly
from planner.plan import Plan
from planner.plan_file import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import MergeProblem, pose
from planner.search import optimal_values, per_dimension_plans, settled_by_theory, table_bytes
from planner.strategies import CANONICAL
from planner.value import w2_squared

Array = NDArray[np.float64]
Plans = tuple[Plan, ...]

MOST_NUMBERS = 2e10  # candidates of a solver times d; some ten minutes
MOST_PARETO_WIDTH = 6  # of more coordinates, hardly a candidate is dominated


def plan_every_strategy(
    schedule: NoiseSchedule,
    variances: Array,
    budget: Budget,
    full_search: bool,
    tell: Callable[[str], None],
) -> PlanSet:
    """Canonical, joint and per-dimension plans, with what their students are worth.

    Args:
        full_search: Search coordinates even where theory knows the answer.
        tell: Takes a line on how the coordinates are planned, and on every solver left out.
    """
    num_steps, width = schedule.num_steps, len(variances)
    whole = pose(schedule, variances, budget.train_time)
    counts = budget.merge_counts(num_steps)

    def valued(plans: Plans) -> tuple[Plans, Array]:
        return plans, operator_under(budget, plans, schedule, variances)

    def for_each_count(find: Callable[[MergeProblem], Plans]) -> list[tuple[Plans, Array]]:
        return [valued(find(pose_under(budget, n, schedule, variances))) for n in counts]

    def apart(problem: MergeProblem) -> Plans:
        return per_dimension_plans(
            problem.operators, problem.shrinkage, variances, full_search=full_search
        )

    tell(_how_found(whole, full_search))
    found = {name: valued((make(num_steps),) * width) for name, make in CANONICAL.items()}
    per_dimension = _best_of_each(for_each_count(apart), whole.surrogate)
    # All solvers are exact for one coordinate, and what a search has found need not be repeated.
    joint = dict.fromkeys(SOLVERS, per_dimension) if width == 1 else {}
    for name in SOLVERS if width > 1 else ():
        try:
            refuse_long(name, num_steps, width)
            rivals = for_each_count(lambda p, name=name: plan_jointly(p, name).blocks * width)
        except ValueError as error:
            tell(f"{name} is left out: {error}")
            continue
        joint[name] = min(rivals, key=lambda rival: w2_squared(rival[1], whole.surrogate))
    found |= joint | {PER_DIMENSION: per_dimension}

    per_merge = budget.kind == "per-merge"
    values = (
        per_dimension[1]
        if per_merge
        else optimal_values(whole.operators, whole.shrinkage, variances, full_search=full_search)
    )
    bound = float(w2_squared(values, whole.surrogate))
    exact = per_merge and "pareto" in joint
    least = float(w2_squared(joint["pareto"][1], whole.surrogate)) if exact else bound
    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=variances,
        surrogate=whole.surrogate,
        lower_bound=bound,
        strategies={
            name: _judged(plans, operator, whole.surrogate, least)
            for name, (plans, operator) in found.items()
        },
    )


def refuse_long(solver: str, num_steps: int, width: int) -> None:
    """Refuse a joint solver for a problem that would take it longer than some ten minutes."""
    kept = WIDTH if solver == "beam" else 1
    numbers = (num_steps**3 - num_steps) / 6 * kept**2 * width
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"num_steps = {num_steps} and {width} coordinates are {numbers:.1e} numbers to "
            f"compare, more than {MOST_NUMBERS:.0e}"
        )
    if solver == "pareto" and width > MOST_PARETO_WIDTH:
        raise ValueError(f"{width} coordinates are more than {MOST_PARETO_WIDTH}")


def _judged(plans: Plans, operator: Array, surrogate: Array, least: float) -> StrategyPlans:
    found = float(w2_squared(operator, surrogate))
    return StrategyPlans(plans, operator, found, meets(found, least, surrogate))


def _best_of_each(rivals: list[tuple[Plans, Array]], surrogate: Array) -> tuple[Plans, Array]:
    """Coordinate by coordinate, the plan and operator nearest to the surrogate."""
    errors = np.stack([np.abs(surrogate - operator) for _, operator in rivals])
    best = errors.argmin(axis=0).tolist()
    plans = tuple(rivals[rival][0][i] for i, rival in enumerate(best))
    return plans, np.array([rivals[rival][1][i] for i, rival in enumerate(best)])


def _how_found(problem: MergeProblem, full_search: bool) -> str:
    settled = settled_by_theory(problem.operators, problem.shrinkage, problem.variances)
    boot, vanilla = (int((settled == name).sum()) for name in ("sequential_boot", "vanilla"))
    searched = len(settled) if full_search else len(settled) - boot - vanilla
    parts = []
    if not full_search:
        parts.append(f"theory settles {boot} coordinates (BOOT) and {vanilla} (vanilla) in O(T)")
    if searched:
        size = table_bytes(problem.num_steps, searched) / 1e6
        parts.append(f"{searched} are searched in full, with {size:.3g} MB of tables")
    return "per dimension: " + "; ".join(parts)
