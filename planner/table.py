"""Every strategy's plan for one problem, side by side."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from planner.beam import WIDTH
from planner.budget import Budget, operator_under
from planner.counted import MOST_STEPS, plans_under_total
from planner.joint import SOLVERS, meets, plan_jointly
from planner.plan import Plan
from planner.plan_file import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import Problem
from planner.search import per_dimension_plans, settled_by_theory, table_bytes
from planner.strategies import CANONICAL
from planner.value import w2_squared

Array = NDArray[np.float64]
Plans = tuple[Plan, ...]

MOST_NUMBERS = 2e10  # candidates of a solver times d; some ten minutes
MOST_PARETO_WIDTH = 6  # of more coordinates, hardly a candidate is dominated


def plan_every_strategy(
    problem: Problem,
    budget: Budget,
    rates: Array | None = None,
    full_search: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> PlanSet:
    """Canonical, joint and per-dimension plans, with what their students are worth.

    Under a total budget each coordinate's plan is exact, and the joint solvers are heuristics:
    they plan for equal times, one number of merges after another. Beyond ``MOST_STEPS`` steps only
    the canonical strategies are valued there, and nothing is proven optimal.

    Args:
        rates: As for ``Problem.with_training``.
        full_search: Search coordinates even where theory knows the answer.
        tell: Takes a line on how the coordinates are planned, and on all that is left out.
    """
    num_steps, width = problem.operators.shape

    def valued(plans: Plans) -> tuple[Plans, Array]:
        return plans, operator_under(budget, plans, problem, rates)

    def loss(rival: tuple[Plans, Array]) -> float:
        return float(w2_squared(rival[1], problem.surrogate))

    found = {name: valued((make(num_steps),) * width) for name, make in CANONICAL.items()}
    own: tuple[Plans, Array] | None = None
    solvers: tuple[str, ...] = ()
    if budget.kind == "total" and num_steps > MOST_STEPS:
        tell(
            "canonical strategies only, no lower bound: planning for a total budget takes at most "
            f"{MOST_STEPS} steps, not {num_steps}"
        )
    else:
        own = valued(_own_plans(problem, budget, rates, full_search, tell))
        solvers = tuple(SOLVERS)
    for solver in solvers:
        if width == 1 and own is not None:
            found[solver] = own  # every solver is exact, and need not find it again
            continue
        try:
            _refuse(solver, num_steps, width, budget)
            trained = [
                problem.with_training(budget.time_of_one(count), rates)
                for count in budget.merge_counts(num_steps)
            ]
            rivals = [valued(plan_jointly(each, solver).blocks * width) for each in trained]
        except ValueError as error:
            tell(f"{solver} is left out: {error}")
            continue
        found[solver] = min(rivals, key=loss)
    if budget.kind == "total" and "beam" in found and own is not None:
        # Searches for equal times overlook the plans of few merges, which others may have found.
        alone = [valued((plan,) * width) for plan in {id(plan): plan for plan in own[0]}.values()]
        found["beam"] = min([*found.values(), *alone], key=loss)
    if own is not None:
        found[PER_DIMENSION] = own

    bound = None if own is None else loss(own)
    least = loss(found["pareto"]) if "pareto" in found else bound
    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=problem.variances,
        surrogate=problem.surrogate,
        lower_bound=bound,
        strategies={
            name: StrategyPlans(
                plans=plans,
                operator=operator,
                w2_squared=loss((plans, operator)),
                optimal=least is not None
                and meets(loss((plans, operator)), least, problem.surrogate),
            )
            for name, (plans, operator) in found.items()
        },
    )


def _own_plans(
    problem: Problem,
    budget: Budget,
    rates: Array | None,
    full_search: bool,
    tell: Callable[[str], object],
) -> Plans:
    """The optimal plan of every coordinate by itself."""
    if budget.kind == "total":
        rates = problem.second_moments if rates is None else rates
        return plans_under_total(problem.operators, rates, problem.towards, budget.train_time)
    trained = problem.with_training(budget.train_time, rates)
    settled = settled_by_theory(trained.operators, trained.shrinkage, trained.variances)
    boot, vanilla = (int((settled == name).sum()) for name in ("sequential_boot", "vanilla"))
    searched = len(settled) if full_search else len(settled) - boot - vanilla
    if not full_search:
        tell(f"theory settles {boot} coordinates (BOOT) and {vanilla} (vanilla) in O(T)")
    if searched:
        size = table_bytes(problem.num_steps, searched) / 1e6
        tell(f"{searched} coordinates are searched in full, with {size:.3g} MB of tables")
    return per_dimension_plans(
        trained.operators, trained.shrinkage, trained.variances, full_search=full_search
    )


def _refuse(solver: str, num_steps: int, width: int, budget: Budget) -> None:
    """Refuse a joint solver that does not know the budget, or would take some ten minutes."""
    kept = WIDTH if solver == "beam" else 1
    numbers = (num_steps**3 - num_steps) / 6 * kept**2 * width
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"num_steps = {num_steps} and {width} coordinates are {numbers:.1e} numbers to "
            f"compare, more than {MOST_NUMBERS:.0e}"
        )
    if solver == "pareto" and budget.kind == "total":
        raise ValueError("its fronts do not count merges, which a total budget depends on")
    if solver == "pareto" and width > MOST_PARETO_WIDTH:
        raise ValueError(f"{width} coordinates are more than {MOST_PARETO_WIDTH}")
