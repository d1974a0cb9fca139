"""What planning has found so far, as plans that can be saved."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from planner.budget import Budget, operator_under
from planner.effort import STRATEGIES
from planner.joint import meets
from planner.plan import Plans
from planner.plan_set import PlanSet, StrategyPlans
from planner.problem import Problem


def valued_by(problem: Problem, budget: Budget) -> Callable[[Plans], StrategyPlans]:
    """Gives plans the operator that their students end with, and its error; none is proven."""

    def valued(plans: Plans) -> StrategyPlans:
        operator = operator_under(budget, plans, problem)
        error = float(problem.distance(operator, problem.target))
        return StrategyPlans(plans, operator, error, optimal=False)

    return valued


def plan_set_of(
    problem: Problem,
    budget: Budget,
    found: Mapping[str, StrategyPlans],
    bound: float | None,
    least: float | None,
    student_steps: int = 1,
) -> PlanSet:
    """The plans that are found, in the order of ``STRATEGIES``.

    Args:
        found: Strategy -> its plans.
        bound: No plan's W2**2 is below it; None where no bound is known.
        least: The W2**2 that proves plans which meet it optimal; None where nothing is proven.
        student_steps: K, the steps of the student.
    """
    target = problem.on_unit_noise(problem.target)

    def proven(plans: StrategyPlans) -> bool:
        return least is not None and meets(plans.w2_squared, least, target)

    return PlanSet(
        num_steps=problem.num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=problem.variances,
        target=problem.target,
        lower_bound=bound,
        strategies={
            name: replace(found[name], optimal=proven(found[name]))
            for name in STRATEGIES
            if name in found
        },
        parametrisation=problem.parametrisation,
        student_steps=student_steps,
        schedule=problem.schedule,
    )
