"""The plan view of a report page: the problem as data for its script."""

from pathlib import Path

from distill.train import SQUARED_NORM
from planner.problem import Problem

SCRIPT = Path(__file__).parent / "templates" / "plan_view.js"


def plan_data(problem: Problem, lr: float) -> dict[str, object] | None:
    """What the script needs to know of a problem whose students train by gradient descent.

    None where the teacher does not start from pure noise, which the script does not know.
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
    }
