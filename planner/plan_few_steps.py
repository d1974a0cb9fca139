"""The plans of every strategy for students of K > 1 steps, which share the teacher's steps.

The shares are equal. Each step of the student is distilled from its share by a plan of its own, and
the student's operator is the product of the K values. For one coordinate no value is negative, and
every value errs to one side of its own target, the same side for all shares: a denoiser's lies at
or below the composite of its share, and an operator's on the side of the surrogate that
``planner.problem.better_direction`` names. The targets of the shares multiply to the target of the
student. So the product is nearest to it where every factor is, and the shares can be planned apart
if their merges train equally long whatever the other shares do. Three consequences:

    per merge   ``per_dimension`` is exact among the plans with these shares: what is optimal for
                every share is optimal for the student. For operators, as for one step, the plans of
                a share are those of [OM] Algorithm 1. The error of ``per_dimension`` bounds that of
                joint plans from below.
    per merge   A joint plan is made share by share. Where d > 1, plans that are best for their
                shares need not be best together, so a joint plan, ``pareto`` included, is called
                optimal only where it meets the bound.
    in total    A merge of one share takes time from those of the others. This module then chooses
                the best of the canonical plans and of plans for several numbers of merges, and
                proves nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from planner.budget import Budget, operator_under
from planner.few_step import equal_shares, plans_by_share, shifted
from planner.joint import SOLVERS, meets
from planner.plan import Plans, map_distinct
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import Decay, Problem
from planner.strategies import CANONICAL
from planner.value import w2_squared

Log = Callable[[str], object]

SOLVERS_IN_TOTAL = ("greedy", "beam")
"""``pareto`` takes longest, and its plans would not be exact."""


class PlanShare(Protocol):
    """Plans every strategy for a student of one step."""

    def __call__(
        self, problem: Problem, budget: Budget, *, log: Log, solvers: Sequence[str]
    ) -> PlanSet:
        """The plans of all strategies, with these joint solvers."""


def plan_few_steps(
    problem: Problem,
    budget: Budget,
    student_steps: int,
    plan_share: PlanShare,
    decay: Decay | None,
    log: Log,
) -> PlanSet:
    """Canonical, joint and per-dimension plans; see the module for what is exact.

    Args:
        student_steps: K, the steps of the student, at least 2.
        plan_share: Plans the problem of one share, at the learning rate of ``decay``.
        decay: n_b w -> the rate of decay. Without it, the rate is n_b w, that of gradient flow.
        log: Called with one line per decision, as by ``plan_share``.

    Raises:
        ValueError: ``student_steps`` is not in 1..T.
    """
    num_steps, width = problem.operators.shape

    def valued(plans: Plans) -> StrategyPlans:
        operator = operator_under(budget, plans, problem, decay)
        error = float(w2_squared(operator, problem.target))
        return StrategyPlans(plans, operator, error, optimal=False)

    canonical = {
        name: valued(_for_all(plans_by_share(make, num_steps, student_steps), width))
        for name, make in CANONICAL.items()
    }
    bound = None
    if budget.kind == "per_merge":
        planned = _plan_shares(problem, budget, student_steps, plan_share, SOLVERS, log)
        found = canonical | {
            name: valued(plans) for name, plans in planned.items() if name not in CANONICAL
        }
        bound = found[PER_DIMENSION].w2_squared
    else:
        log(
            f"K = {student_steps} steps share a total budget: plans are the best of the canonical "
            "ones and of those for several numbers of merges; none is proven optimal, and no lower "
            "bound is known"
        )
        rivals = []
        for count in budget.merge_counts(num_steps - student_steps + 1):
            one = Budget(budget.time_of_one(count))
            planned = _plan_shares(
                problem, one, student_steps, plan_share, SOLVERS_IN_TOTAL, lambda line: None
            )
            rivals.append({name: valued(plans) for name, plans in planned.items()})
        found = canonical | _best_in_total(problem, canonical, rivals, valued)

    def proven(plans: StrategyPlans) -> bool:
        return bound is not None and meets(plans.w2_squared, bound, problem.target)

    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=problem.variances,
        target=problem.target,
        lower_bound=bound,
        strategies={name: replace(each, optimal=proven(each)) for name, each in found.items()},
        parametrisation=problem.parametrisation,
        student_steps=student_steps,
    )


def _plan_shares(
    problem: Problem,
    budget: Budget,
    student_steps: int,
    plan_share: PlanShare,
    solvers: Sequence[str],
    log: Log,
) -> dict[str, Plans]:
    """Strategy -> its plans, every share planned by itself.

    A strategy that is left out of one share is left out.
    """
    planned = []
    for number, (start, stop) in enumerate(equal_shares(problem.num_steps, student_steps), 1):
        tell = partial(_tell, log, f"step {number} of {student_steps}: ")
        plans = plan_share(problem.section(start, stop), budget, log=tell, solvers=solvers).plans
        shift = partial(shifted, by=stop)
        planned.append({name: map_distinct(shift, own) for name, own in plans.items()})
    return {
        name: tuple(plan for own in planned for plan in own[name])
        for name in planned[0]
        if all(name in own for own in planned)
    }


def _tell(log: Log, prefix: str, line: str) -> None:
    log(prefix + line)


def _best_in_total(
    problem: Problem,
    canonical: dict[str, StrategyPlans],
    rivals: list[dict[str, StrategyPlans]],
    valued: Callable[[Plans], StrategyPlans],
) -> dict[str, StrategyPlans]:
    """The joint strategies and ``per_dimension`` under a total budget.

    ``greedy`` is the best of the canonical plans and of its own, and ``beam`` of all joint plans.

    Args:
        rivals: For each number of merges, strategy -> plans, valued under the total budget.
    """
    known = list(canonical.values())
    found = {}
    greedy = [planned["greedy"] for planned in rivals if "greedy" in planned]
    joint = [p for planned in rivals for name, p in planned.items() if name != PER_DIMENSION]
    if greedy:
        found["greedy"] = min(known + greedy, key=_w2_squared)
    if any("beam" in planned for planned in rivals):
        found["beam"] = min(known + joint, key=_w2_squared)
    own = known + [planned[PER_DIMENSION] for planned in rivals]
    gaps = np.abs(np.stack([each.operator for each in own]) - problem.target)
    nearest = gaps.argmin(axis=0)  # (d,)
    width = len(nearest)
    plans = own[0].plans
    found[PER_DIMENSION] = valued(
        tuple(own[nearest[place % width]].plans[place] for place in range(len(plans)))
    )
    return found


def _w2_squared(plans: StrategyPlans) -> float:
    return plans.w2_squared


def _for_all(plans: Plans, width: int) -> Plans:
    """One plan per step -> one plan per step and coordinate, the same for all coordinates."""
    return tuple(plan for plan in plans for _ in range(width))
