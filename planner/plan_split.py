"""The plans of every strategy where a total training time is divided as is best for each plan.

Every plan has its best split (``planner.split``). What is proven:

    per_dimension  The best plan of a coordinate together with its best split is known, among all
                   plans with merges of any number of parts. So its error is a lower bound for one
                   plan for all coordinates, with every split.
    the others     All coordinates share one plan and one split. The split is a local minimum. A
                   plan is called optimal only where it meets the bound.

The joint strategies improve the split of plans that are made for equal shares. ``beam`` takes the
best of them, of the canonical plans and of those plans of two merges that drop noisy steps, which
equal shares do not favour. Whether another plan with its best split is better is not known.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from planner.budget import Budget, Shares
from planner.denoiser import is_vanilla_optimal_in_total
from planner.effort import Effort
from planner.plan import Plan, distinct
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans, plan_set_of
from planner.problem import DenoiserProblem, Problem
from planner.split import best_alone, best_split, drop_plans, operator_of_split
from planner.strategies import CANONICAL

Log = Callable[[str], object]
Array = NDArray[np.float64]

SOLVERS_OF_SPLITS = ("greedy", "beam")
"""``pareto`` cannot plan for a total: its fronts do not count merges."""


def plan_best_split(
    problem: Problem,
    budget: Budget,
    plan_equal: Callable[[Effort], PlanSet],
    log: Log,
    effort: Effort,
    known: PlanSet | None,
    save: Callable[[PlanSet], object],
) -> PlanSet:
    """Canonical, per-dimension and joint plans, each with its best split of the total time.

    Args:
        plan_equal: Plans every strategy for the same total in equal shares.
        log: Called with one line per decision.
        effort: Which joint solvers run, and for how long.
        known: Plans for this problem from before. Those of solvers that finished are kept.
        save: Called with all plans so far after every solver.

    Raises:
        ValueError: students that train at constant speed.
    """
    if problem.parametrisation.law != "gradient_flow":
        raise ValueError("the best split is known for the law gradient_flow only")
    width = len(problem.variances)
    found = dict(known.strategies) if known else {}
    target = problem.target

    def so_far() -> PlanSet:
        own = found.get(PER_DIMENSION)
        bound = own.w2_squared if own else None
        return plan_set_of(problem, budget, found, bound, bound)

    def with_split(plan: Plan) -> StrategyPlans:
        shares = best_split(problem, plan, budget)
        operator = operator_of_split(problem, plan, shares, budget)
        error = float(problem.distance(operator, target))
        return StrategyPlans((plan,) * width, operator, error, False, shares=(shares,) * width)

    for name, make in CANONICAL.items():
        if name not in found:
            found[name] = with_split(make(problem.num_steps))
    save(so_far())
    if PER_DIMENSION not in found:
        own = _own_plans(problem, budget, log)
        if own is not None:
            found[PER_DIMENSION] = own
    save(so_far())

    solvers = [solver for solver in SOLVERS_OF_SPLITS if solver in effort.solvers]
    if all(solver in found and found[solver].finished for solver in solvers):
        return so_far()
    log("one plan for all coordinates is the best of several with its best split, not proven")
    equal = plan_equal(replace(effort, solvers=solvers)).strategies
    solve = partial(_solved, with_split=with_split, equal=equal)
    if "greedy" in solvers and "greedy" in equal:
        found["greedy"] = solve("greedy")
        save(so_far())
    if "beam" in solvers:
        rivals = [found[name] for name in (*CANONICAL, "greedy") if name in found]
        rivals += [solve(name) for name in ("beam",) if name in equal]
        others = distinct(found[PER_DIMENSION].plans) if PER_DIMENSION in found else []
        rivals += [with_split(plan) for plan in (*others, *drop_plans(problem.num_steps))]
        best = min(rivals, key=_w2_squared)
        found["beam"] = replace(best, finished=all(each.finished for each in rivals))
        save(so_far())
    return so_far()


def _w2_squared(plans: StrategyPlans) -> float:
    return plans.w2_squared


def _solved(
    name: str,
    with_split: Callable[[Plan], StrategyPlans],
    equal: dict[str, StrategyPlans],
) -> StrategyPlans:
    """The plan of a joint strategy for equal shares, with its best split."""
    return replace(with_split(equal[name].plans[0]), finished=equal[name].finished)


def _own_plans(problem: Problem, budget: Budget, log: Log) -> StrategyPlans | None:
    """The optimal plan and split of every coordinate by itself; None where they are not known."""
    width = len(problem.variances)
    if problem.parametrisation.kind == "denoiser":
        trained = problem.trained(budget.train_time, budget.decay)
        assert isinstance(trained, DenoiserProblem)
        if not is_vanilla_optimal_in_total(trained):
            log("no lower bound: at this learning rate longer jumps train less than shorter ones")
            return None
        vanilla = CANONICAL["vanilla"](problem.num_steps)
        chosen = [(vanilla, (1.0,) * bool(vanilla.parts))] * width
    else:
        known: dict[tuple[bool, ...], tuple[Plan, Shares]] = {}
        chosen = []
        for i, variance in enumerate(problem.variances.tolist()):
            contracts = variance > 1, *(problem.operators[:-1, i] < 1.0).tolist()
            if contracts not in known:
                known[contracts] = best_alone(problem.operators[:, i], variance > 1)
            chosen.append(known[contracts])
    log(f"theory gives the best plan and split of all {width} coordinates")
    operator = np.empty(width)
    columns: dict[int, list[int]] = {}
    for i, (plan, _) in enumerate(chosen):
        columns.setdefault(id(plan), []).append(i)
    for own in columns.values():
        plan, shares = chosen[own[0]]
        operator[own] = operator_of_split(problem.select(np.array(own)), plan, shares, budget)
    error = float(problem.distance(operator, problem.target))
    return StrategyPlans(
        tuple(plan for plan, _ in chosen),
        operator,
        error,
        False,
        shares=tuple(shares for _, shares in chosen),
    )
