"""What linear theory says about neural students: their errors, and the plan that it finds best.

SGD follows the gradient flow of ``planner``, and Adam its law of constant speed. Theory does not
know how fast a network trains. So one number per cell, the training time of a gradient step, is
fitted on vanilla's measured error, and the errors of all other strategies follow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule, Prediction
from neural.ranking import ROUNDING
from planner.denoiser import joint_chain
from planner.effort import MOST_PARETO_WIDTH
from planner.joint import joint_blocks
from planner.parametrisation import Kind, Parametrisation
from planner.plan import Plan, Plans
from planner.problem import DenoiserProblem, Problem, make_problem
from planner.strategies import CANONICAL, equal_shares, plans_by_share, shifted

Array = NDArray[np.float64]

SHORTEST, LONGEST = 1e-9, 1e9  # training times between which a fit looks
BISECTIONS = 100
PLANNED_TIMES = np.geomspace(1 / 16, 16, 9)
"""Training times to plan for, over that of a merge of vanilla, where merges share a budget."""

SHORTER = (1.0, 1 / 4, 1 / 16)
"""Shares of the training time. Plans that theory leaves no error are ranked by the errors that they
would have after these shorter trainings."""


def theory_of(
    schedule: NoiseSchedule,
    variances: Array,
    kind: Kind,
    loss: Literal["x_0", "z"],
    prediction: Prediction,
    optimizer: Literal["adam", "sgd"],
) -> Problem | None:
    """The linear problem whose students train as networks do, or None for Adam under operator."""
    if kind == "operator":
        return make_problem(schedule, variances) if optimizer == "sgd" else None
    law: Literal["gradient_flow", "constant_speed"] = (
        "gradient_flow" if optimizer == "sgd" else "constant_speed"
    )
    return make_problem(schedule, variances, Parametrisation(kind, loss, prediction, law))


def predicted_error(theory: Problem, plans: Sequence[Plan], train_time: float) -> float:
    """Squared error to the teacher over the teacher's variance, of a student of these plans.

    Args:
        plans: One per step of the student.
        train_time: s of every merge.
    """
    trained = theory.trained(train_time)
    student = np.prod([trained.student_operator(plan) for plan in plans], axis=0)
    gap = student - theory.composite
    return float(np.square(gap).sum() / np.square(theory.composite).sum())


def fit_step_time(theory: Problem, vanilla: Plans, updates: int, error: float) -> float | None:
    """The training time of one gradient step with which theory gives vanilla's measured error.

    Args:
        updates: Gradient steps of each of vanilla's merges.

    Returns:
        None where nothing is merged, or vanilla diverged.
    """
    if not updates or not np.isfinite(error):
        return None
    low, high = SHORTEST, LONGEST
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        if predicted_error(theory, vanilla, middle) > error:
            low = middle
        else:
            high = middle
    return high / updates


def predict_errors(
    theory: Problem, plans: Mapping[str, Plans], updates: Mapping[str, int], step_time: float
) -> dict[str, float]:
    """Error of every strategy of one cell.

    Args:
        plans: Strategy -> its plans, one per step of the student.
        updates: Strategy -> gradient steps of each of its merges.
    """
    return {
        name: predicted_error(theory, own, step_time * max(updates[name], 1))
        for name, own in plans.items()
    }


def best_plans(
    theory: Problem, student_steps: int, updates_of: Callable[[Plans], int], step_time: float
) -> Plans:
    """The plans whose error theory puts lowest, one per step of the student.

    The candidates are the canonical strategies, and the joint plans for several training times of
    a merge: under a budget that merges share, their time depends on the plan.

    Args:
        updates_of: Plans -> gradient steps that the budget gives each of their merges.
    """
    num_steps = theory.num_steps
    candidates = [plans_by_share(make, num_steps, student_steps) for make in CANONICAL.values()]
    of_vanilla = step_time * max(updates_of(candidates[0]), 1)
    candidates += [_joint_plans(theory, student_steps, of_vanilla * x) for x in PLANNED_TIMES]

    def errors(plans: Plans) -> list[float]:
        time = step_time * max(updates_of(plans), 1)
        found = (predicted_error(theory, plans, time * share) for share in SHORTER)
        return [max(error, ROUNDING) for error in found]

    return min(candidates, key=errors)


def _joint_plans(theory: Problem, student_steps: int, train_time: float) -> Plans:
    """One plan for all coordinates per step of the student, noisiest first."""
    solver = "pareto" if len(theory.variances) <= MOST_PARETO_WIDTH else "beam"
    plans = []
    for start, stop in equal_shares(theory.num_steps, student_steps):
        trained = theory.section(start, stop).trained(train_time)
        if isinstance(trained, DenoiserProblem):
            plan = joint_chain(trained, solver)
        else:
            (plan,) = joint_blocks(trained, solver)
        plans.append(shifted(plan, stop))
    return tuple(plans)
