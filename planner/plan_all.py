"""Plans of every strategy for one problem: canonical, joint, and one per coordinate."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planner.beam import WIDTH
from planner.budget import Budget, operator_under
from planner.joint import SOLVERS, joint_blocks, meets
from planner.per_dimension import per_dimension_plans, settled_by_theory, table_bytes
from planner.plan import Plans, distinct
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import Problem
from planner.strategies import CANONICAL
from planner.total_budget import MOST_STEPS, plans_under_total
from planner.value import w2_squared

Array = NDArray[np.float64]

MOST_NUMBERS = 2e10
"""Candidates of a solver times d, above which it is left out; it would take some ten minutes."""
MOST_PARETO_WIDTH = 6
"""Coordinates above which the exact joint solver is left out: hardly a candidate is dominated."""


def plan_every_strategy(
    problem: Problem,
    budget: Budget,
    rates: Array | None = None,
    full_search: bool = False,
    log: Callable[[str], object] = lambda line: None,
) -> PlanSet:
    """Canonical, joint and per-dimension plans, with the operators that their students end with.

    Under a total budget the plan of each coordinate is exact, and the joint solvers are heuristics:
    they plan for one number of merges after another. Beyond ``MOST_STEPS`` steps a total budget
    has canonical strategies only, and nothing is proven optimal.

    Args:
        rates: r_t of the shrinkages exp(-2 s r_t), (T, d). Without them r_t is n_t, the rate of
            gradient flow.
        full_search: Search coordinates even where theory knows the answer.
        log: Called with one line per decision: how the coordinates are planned, and which solvers
            are left out and why.
    """
    num_steps, width = problem.operators.shape

    def valued(plans: Plans) -> StrategyPlans:
        operator = operator_under(budget, plans, problem, rates)
        return StrategyPlans(
            plans, operator, float(w2_squared(operator, problem.surrogate)), optimal=False
        )

    found = {name: valued((make(num_steps),) * width) for name, make in CANONICAL.items()}
    bound = None
    if budget.kind == "total" and num_steps > MOST_STEPS:
        log(
            "canonical strategies only, no lower bound: planning for a total budget takes at most "
            f"{MOST_STEPS} steps, not {num_steps}"
        )
    else:
        own = valued(_own_plans(problem, budget, rates, full_search, log))
        found |= _joint_plans(problem, budget, rates, valued, found, own, log)
        found[PER_DIMENSION] = own
        bound = own.w2_squared
    least = found["pareto"].w2_squared if "pareto" in found else bound

    def proven(plans: StrategyPlans) -> bool:
        return least is not None and meets(plans.w2_squared, least, problem.surrogate)

    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=problem.variances,
        surrogate=problem.surrogate,
        lower_bound=bound,
        strategies={name: replace(each, optimal=proven(each)) for name, each in found.items()},
    )


def _joint_plans(
    problem: Problem,
    budget: Budget,
    rates: Array | None,
    valued: Callable[[Plans], StrategyPlans],
    canonical: dict[str, StrategyPlans],
    own: StrategyPlans,
    log: Callable[[str], object],
) -> dict[str, StrategyPlans]:
    """Solver -> one plan for all coordinates; solvers that would take too long are left out."""
    num_steps, width = problem.operators.shape
    found = {}
    for solver in SOLVERS:
        if width == 1:  # every solver would find the optimal plan again
            found[solver] = own
            continue
        try:
            _refuse(solver, num_steps, width, budget)
            rivals = []
            for count in budget.merge_counts(num_steps):
                trained = problem.with_training(budget.time_of_one(count), rates)
                rivals.append(valued(joint_blocks(trained, solver) * width))
        except ValueError as error:
            log(f"{solver} is left out: {error}")
            continue
        found[solver] = min(rivals, key=_w2_squared)
    if budget.kind == "total" and "beam" in found:
        # The beam planned for a few numbers of merges only. Another strategy may be better.
        own_plans = (valued((plan,) * width) for plan in distinct(own.plans))
        rivals = [*canonical.values(), *found.values(), *own_plans]
        found["beam"] = min(rivals, key=_w2_squared)
    return found


def _w2_squared(plans: StrategyPlans) -> float:
    return plans.w2_squared


def _own_plans(
    problem: Problem,
    budget: Budget,
    rates: Array | None,
    full_search: bool,
    log: Callable[[str], object],
) -> Plans:
    """The optimal plan of every coordinate by itself, d of them."""
    if budget.kind == "total":
        rates = problem.second_moments if rates is None else rates
        return plans_under_total(problem.operators, rates, problem.direction, budget.train_time)
    trained = problem.with_training(budget.train_time, rates)
    settled = settled_by_theory(trained)
    boot, vanilla = (int((settled == name).sum()) for name in ("sequential_boot", "vanilla"))
    searched = len(settled) if full_search else len(settled) - boot - vanilla
    if not full_search:
        log(f"theory settles {boot} coordinates (BOOT) and {vanilla} (vanilla) in O(T)")
    if searched:
        size = table_bytes(problem.num_steps, searched) / 1e6
        log(f"{searched} coordinates are searched in full, with {size:.3g} MB of tables")
    return per_dimension_plans(trained, full_search=full_search)


def _refuse(solver: str, num_steps: int, width: int, budget: Budget) -> None:
    """Refuse a joint solver that cannot plan for the budget or would take some ten minutes.

    Raises:
        ValueError: with the reason.
    """
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
