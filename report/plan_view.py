"""The section "What if" of a report page plans in the browser: the data that its script needs."""

from pathlib import Path

from distill.train import SQUARED_NORM
from planner.plan_set import PER_DIMENSION
from planner.problem import Problem
from planner.strategies import CANONICAL
from report.style import label

SCRIPT = Path(__file__).parent / "templates" / "plan_view.js"


def plan_data(problem: Problem, lr: float) -> dict[str, object] | None:
    """The planning problem as data, for students that train by gradient descent.

    None if the teacher does not start from pure noise: the script computes no such plans.
    """
    if problem.schedule.alpha[-1] > 0:
        return None
    kind = problem.parametrisation.kind
    return {
        "kind": kind,
        "alpha": problem.schedule.alpha.tolist(),
        "sigma": problem.schedule.sigma.tolist(),
        "variances": problem.variances.tolist(),
        "weights": problem.weights.tolist() if kind == "denoiser" else None,
        "rate": lr * SQUARED_NORM,
        "names": {name: label(name) for name in (*CANONICAL, PER_DIMENSION)},
    }
