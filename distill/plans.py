"""Plans for a problem: by the name of a strategy, or from a file that must be for it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan
from planner.plan_file import PER_DIMENSION, PlanSet, read_plans
from planner.problem import Problem
from planner.search import per_dimension_plans
from planner.strategies import CANONICAL

Array = NDArray[np.float64]


def plan_strategy(name: str, problem: Problem, shrinkage: Array) -> tuple[Plan, ...]:
    """A plan a coordinate, d of them, of a canonical strategy or ``per_dimension``.

    Args:
        shrinkage: What a merge that starts at t leaves undone, g_t, (T, d).
    """
    if name == PER_DIMENSION:
        return per_dimension_plans(problem.operators, shrinkage, problem.variances)
    return (CANONICAL[name](problem.num_steps),) * len(problem.variances)


def read_plan_set(path: Path, problem: Problem) -> PlanSet:
    """A plans.json, which must be for this problem's steps and coordinates.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is for another problem.
    """
    found = read_plans(path)
    asked = problem.operators.shape
    if (found.num_steps, len(found.variances)) != asked:
        raise ValueError(
            f"{path}: for {found.num_steps} steps and {len(found.variances)} coordinates, this "
            f"run has {asked[0]} and {asked[1]}; give --num-steps {found.num_steps}, or plan "
            "again for these variances"
        )
    return found
