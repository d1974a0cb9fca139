"""Plans for a problem: by the name of a strategy, or from a file that must be for it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan
from planner.plan_file import PER_DIMENSION, PLAN_AGAIN, PlanSet, read_plans
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


def read_plan_set(path: Path, shape: tuple[int, ...], mend: str = PLAN_AGAIN) -> PlanSet:
    """A plans.json, which must be for a problem of this shape.

    Args:
        shape: Steps and coordinates, (T, d).
        mend: What to do about a missing or damaged file.

    Raises:
        FileNotFoundError, OSError, ValueError: there is none, it is damaged, or for another
            problem.
    """
    found = read_plans(path, mend)
    if (found.num_steps, len(found.variances)) != shape:
        raise ValueError(
            f"{path}: for {found.num_steps} steps and {len(found.variances)} coordinates, this "
            f"run has {shape[0]} and {shape[1]}; give --num-steps {found.num_steps}, or plan "
            "again for these variances"
        )
    return found
