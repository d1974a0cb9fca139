"""The plans of several strategies for one problem: how they are valued, gathered and proven."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import check_variances
from diffusion.schedule import NoiseLevels
from planner.budget import Budget, BudgetKind, Shares, operator_under
from planner.joint import SOLVERS, meets
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import Plans, distinct
from planner.problem import Problem, check_train_time
from planner.strategies import CANONICAL

Array = NDArray[np.float64]

PER_DIMENSION = "per_dimension"
"""The only strategy whose file entry has one list of merges per coordinate and step."""
STRATEGIES = (*CANONICAL, *SOLVERS, PER_DIMENSION)
"""All strategies, in the order of tables and files."""
MOST_SHOWN = 9
"""Strategies in the text of a set of plans, below its first line."""


@dataclass(frozen=True, eq=False, repr=False)
class StrategyPlans:
    """One strategy's plans, and the student that they end with, in closed form."""

    plans: Plans
    """One plan per step and coordinate, K d of them, in the teacher's times: ``plans[k * d + i]``
    is step k of coordinate i, the noisiest step first. So a student of one step has one plan per
    coordinate. Equal plans are one object."""
    operator: Array
    """Operator of the student, (d,)."""
    w2_squared: float
    """Squared distance of the student to the target."""
    optimal: bool
    """Proven optimal, among the plans that the strategy may choose from."""
    finished: bool = True
    """Whether the solver finished; if not, these are its best plans within its time limit."""
    shares: tuple[Shares, ...] | None = None
    """For each plan the shares of its merges, under the budget best_split; else None."""

    def __repr__(self) -> str:
        return f"<StrategyPlans: {self._text}>"

    @property
    def _text(self) -> str:
        shown = f"W2² {self.w2_squared:.6e}, {len(distinct(self.plans)):,} different plans"
        return shown + (", proven optimal" if self.optimal else "")


@dataclass(frozen=True, eq=False, repr=False)
class PlanSet:
    """The plans of all strategies for one problem."""

    num_steps: int
    train_time: float
    budget: BudgetKind
    """Whether ``train_time`` is that of every merge, or that of a plan."""
    variances: Array
    """lam of the data, (d,)."""
    target: Array
    """What students are compared with, (d,): the surrogate for operators, else the composite."""
    lower_bound: float | None
    """No plan's W2**2 is below, with these shares of the steps; None where no bound is known."""
    strategies: dict[str, StrategyPlans]
    parametrisation: Parametrisation = OPERATOR
    """What the students consist of and how they train."""
    student_steps: int = 1
    """K, the steps of the student, which share the teacher's steps equally."""
    schedule: NoiseLevels | None = None
    """What the teacher's steps are; None in files of earlier versions."""

    def __post_init__(self) -> None:
        check_train_time(self.train_time)
        check_variances(self.variances)

    @property
    def plans(self) -> dict[str, Plans]:
        """Strategy -> one plan per step and coordinate; see ``StrategyPlans``."""
        return {name: found.plans for name, found in self.strategies.items()}

    def __repr__(self) -> str:
        """At most ten lines, whatever the sizes are."""
        steps = "" if self.student_steps == 1 else f", students of {self.student_steps} steps"
        head = (
            f"<PlanSet: T = {self.num_steps}, {len(self.variances):,} coordinates{steps}, "
            f"{self.parametrisation.text}, training time {self.train_time:g} ({self.budget})"
        )
        lines = [f"  {name}: {found._text}" for name, found in self.strategies.items()]
        if len(lines) > MOST_SHOWN:
            lines[MOST_SHOWN - 1 :] = [f"  ... and {len(lines) - MOST_SHOWN + 1} more strategies"]
        return "\n".join([head, *lines]) + ">"


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
