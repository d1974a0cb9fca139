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
    in total    A merge of one share takes time from those of the others, so the shares are planned
                together (``planner.total_few_steps``): ``per_dimension`` is exact where bounds and
                the program over numbers of merges settle it, and a lower bound says how good it is
                elsewhere. Joint plans are the best of the canonical ones and of those for several
                numbers of merges, and are called optimal only where they meet the bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Protocol

import numpy as np

from planner.budget import Budget
from planner.effort import Effort
from planner.plan import Plans, map_distinct
from planner.plan_set import (
    PER_DIMENSION,
    STRATEGIES,
    PlanSet,
    StrategyPlans,
    plan_set_of,
    valued_by,
)
from planner.problem import Problem
from planner.strategies import CANONICAL, equal_shares, plans_by_share, shifted
from planner.total_bounds import proven_text
from planner.total_few_steps import plans_in_total

Log = Callable[[str], object]

SOLVERS_IN_TOTAL = ("greedy", "beam")
"""``pareto`` takes longest, and its plans would not be exact."""


class PlanShare(Protocol):
    """Plans every strategy for a student of one step; see ``planner.plan_all.plan_one_step``."""

    def __call__(
        self,
        problem: Problem,
        budget: Budget,
        *,
        log: Log,
        effort: Effort,
        known: PlanSet | None,
        save: Callable[[PlanSet], object],
    ) -> PlanSet:
        """The plans of all strategies, with these joint solvers."""


def plan_few_steps(
    problem: Problem,
    budget: Budget,
    student_steps: int,
    plan_share: PlanShare,
    log: Log,
    effort: Effort,
    known: PlanSet | None,
    save: Callable[[PlanSet], object],
) -> PlanSet:
    """Canonical, joint and per-dimension plans; see the module for what is exact.

    Args:
        student_steps: K, the steps of the student, at least 2.
        plan_share: Plans the problem of one share.
        log: Called with one line per decision, as by ``plan_share``.
        effort: Which joint solvers run. The shares divide the time limit equally.
        known: Plans for this problem from before. Those of solvers that finished are kept.
        save: Called with all plans so far after every solver.

    Raises:
        ValueError: ``student_steps`` is not in 1..T.
    """
    num_steps, width = problem.operators.shape
    found = dict(known.strategies) if known else {}
    in_total = known.lower_bound if known and budget.kind == "total" else None

    valued = valued_by(problem, budget)

    def so_far() -> PlanSet:
        own = found.get(PER_DIMENSION)
        bound = own.w2_squared if own and budget.kind == "per_merge" else in_total
        return plan_set_of(problem, budget, found, bound, bound, student_steps)

    def is_known(names: Sequence[str]) -> bool:
        return all(name in found and found[name].finished for name in names)

    canonical = {
        name: valued(_for_all(plans_by_share(make, num_steps, student_steps), width))
        for name, make in CANONICAL.items()
    }
    found |= canonical
    save(so_far())
    shares: Sequence[PlanSet | None] = [None] * student_steps
    if budget.kind == "total":
        if in_total is None:
            planned_in_total = plans_in_total(problem, budget, student_steps)
            if planned_in_total is None:
                log(
                    f"K = {student_steps} steps share a total budget, and bounds would take too "
                    "long: plans are the best of the canonical ones and of those for several "
                    "numbers of merges; none is proven optimal, and no lower bound is known"
                )
            else:
                own_plans, limits = planned_in_total
                own = found[PER_DIMENSION] = valued(own_plans)
                of_limits = float(problem.distance(limits, problem.target))
                in_total = min(own.w2_squared, of_limits)
                said = proven_text(own.operator, limits, own.w2_squared - in_total)
                log(f"K = {student_steps} steps share a total budget: {said}")
                save(so_far())
        solvers = [solver for solver in SOLVERS_IN_TOTAL if solver in effort.solvers]
        if not is_known([*solvers, PER_DIMENSION]):
            counts = budget.merge_counts(num_steps - student_steps + 1)
            each = _divided(replace(effort, solvers=solvers), len(counts))
            rivals = []
            for count in counts:
                one = Budget(budget.time_of_one(count), decay=budget.decay)
                planned = _plan_shares(problem, one, shares, plan_share, each, lambda line: None)
                rivals.append(_of_student(planned, problem.num_steps, valued))
            found |= _best_in_total(problem, canonical, rivals, valued, found.get(PER_DIMENSION))
            save(so_far())
        return so_far()

    for solvers in ([], *([solver] for solver in effort.solvers)):
        if not is_known(solvers or [PER_DIMENSION]):
            one_solver = replace(effort, solvers=solvers)
            planned = _plan_shares(problem, budget, shares, plan_share, one_solver, log)
            of_student = _of_student(planned, problem.num_steps, valued)
            names = [name for name in (*solvers, PER_DIMENSION) if name in of_student]
            found |= {name: of_student[name] for name in names}
            save(so_far())
            shares = planned
    return so_far()


def _divided(effort: Effort, parts: int) -> Effort:
    """The same effort, with the time limit of one of equal ``parts``."""
    limit = effort.time_limit
    return replace(effort, time_limit=None if limit is None else limit / parts)


def _plan_shares(
    problem: Problem,
    budget: Budget,
    known: Sequence[PlanSet | None],
    plan_share: PlanShare,
    effort: Effort,
    log: Log,
) -> list[PlanSet]:
    """The plans of every share by itself, in the share's own times, noisiest first.

    Args:
        known: For each share its plans from before.
    """
    student_steps = len(known)
    planned = []
    for number, (start, stop) in enumerate(equal_shares(problem.num_steps, student_steps), 1):
        planned.append(
            plan_share(
                problem.section(start, stop),
                budget,
                log=partial(_tell, log, f"step {number} of {student_steps}: "),
                effort=_divided(effort, student_steps),
                known=known[number - 1],
                save=lambda plan_set: None,
            )
        )
    return planned


def _of_student(
    planned: Sequence[PlanSet], num_steps: int, valued: Callable[[Plans], StrategyPlans]
) -> dict[str, StrategyPlans]:
    """Strategy -> its plans for the whole student, from those of the shares.

    A strategy that is left out of one share is left out.
    """
    shares = equal_shares(num_steps, len(planned))
    found = {}
    for name in STRATEGIES:
        if all(name in own.strategies for own in planned):
            plans: Plans = ()
            for own, (_, stop) in zip(planned, shares, strict=True):
                plans += tuple(map_distinct(partial(shifted, by=stop), own.strategies[name].plans))
            finished = all(own.strategies[name].finished for own in planned)
            found[name] = replace(valued(plans), finished=finished)
    return found


def _tell(log: Log, prefix: str, line: str) -> None:
    log(prefix + line)


def _best_in_total(
    problem: Problem,
    canonical: dict[str, StrategyPlans],
    rivals: list[dict[str, StrategyPlans]],
    valued: Callable[[Plans], StrategyPlans],
    own: StrategyPlans | None,
) -> dict[str, StrategyPlans]:
    """The joint strategies and ``per_dimension`` under a total budget.

    ``greedy`` is the best of the canonical plans and of its own, and ``beam`` of all joint plans.

    Args:
        rivals: For each number of merges, strategy -> plans, valued under the total budget.
        own: The plans of single coordinates by ``planner.total_few_steps``.
    """
    known = list(canonical.values())
    joint = [p for planned in rivals for name, p in planned.items() if name != PER_DIMENSION]
    found = {}
    for solver in SOLVERS_IN_TOTAL:
        solved = [planned[solver] for planned in rivals if solver in planned]
        if solved:
            others = joint if solver == "beam" else solved
            best = min(known + others, key=attrgetter("w2_squared"))
            finished = len(solved) == len(rivals) and all(plans.finished for plans in solved)
            found[solver] = replace(best, finished=finished)
    per_dimension = [own] if own else []
    per_dimension += known + [planned[PER_DIMENSION] for planned in rivals]
    gaps = np.abs(np.stack([each.operator for each in per_dimension]) - problem.target)
    nearest = gaps.argmin(axis=0)  # (d,)
    width = len(nearest)
    found[PER_DIMENSION] = valued(
        tuple(
            per_dimension[nearest[place % width]].plans[place]
            for place in range(len(per_dimension[0].plans))
        )
    )
    return found


def _for_all(plans: Plans, width: int) -> Plans:
    """One plan per step -> one plan per step and coordinate, the same for all coordinates."""
    return tuple(plan for plan in plans for _ in range(width))
