"""The planning problem that latents pose, and every strategy's plan for it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators, surrogate_composite
from diffusion.schedule import NoiseSchedule, cosine_schedule
from planner.plan import Plan
from planner.plan_file import PLAN_AGAIN, PlanSet, read_plans
from planner.search import joint_plan, per_dimension_plans
from planner.strategies import CANONICAL

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """T teacher steps on centred latents with the given variances."""

    schedule: NoiseSchedule
    variances: Array  # (d,)
    operators: Array  # A_t, (T, d); row t - 1 belongs to t
    surrogate: Array  # S, (d,)


def pose(num_steps: int, variances: Array) -> Problem:
    """The problem on the cosine schedule, ``variances`` (d,)."""
    schedule = cosine_schedule(num_steps)
    operators = ddim_operators(schedule, variances)
    return Problem(schedule, variances, operators, surrogate_composite(operators, variances))


def plan_strategies(problem: Problem, shrinkage: Array) -> dict[str, tuple[Plan, ...]]:
    """Name -> a plan a coordinate, d of them: canonical ones, ``greedy`` and ``per_dimension``.

    Args:
        shrinkage: What a merge that starts at t leaves undone, g_t, (T, d).
    """
    names = (*CANONICAL, "greedy", "per_dimension")
    return {name: plan_strategy(name, problem, shrinkage) for name in names}


def plan_strategy(name: str, problem: Problem, shrinkage: Array) -> tuple[Plan, ...]:
    """A plan a coordinate under the strategy of that name; arguments as above."""
    num_steps, width = problem.operators.shape
    if name == "greedy":
        return (joint_plan(problem.operators, shrinkage, problem.surrogate),) * width
    if name == "per_dimension":
        return per_dimension_plans(problem.operators, shrinkage, problem.variances)
    return (CANONICAL[name](num_steps),) * width


def read_strategies(path: Path, problem: Problem) -> dict[str, tuple[Plan, ...]]:
    """The same from a plans.json; errors as of ``read_plan_set``."""
    plan_set = read_plan_set(path, problem.operators.shape)
    return {name: found.plans for name, found in plan_set.strategies.items()}


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
