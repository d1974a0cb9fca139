"""The plans of a comparison: every strategy's, for every budget and stage of training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distill.law import decay_rates, train_time
from experiment.write import write_text
from planner.budget import Budget, Stage
from planner.per_dimension import per_dimension_plans
from planner.plan import Plan
from planner.plan_all import plan_every_strategy
from planner.plan_set import PER_DIMENSION, PLAN_AGAIN, PlanSet, read_plans, to_json
from planner.problem import Problem
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


def read_plan_set(path: Path, shape: tuple[int, ...], hint: str = PLAN_AGAIN) -> PlanSet:
    """A plans.json, which must be for a problem of this shape.

    Args:
        shape: Steps and coordinates, (T, d).
        mend: What to do about a missing or damaged file.

    Raises:
        FileNotFoundError, OSError, ValueError: there is none, it is damaged, or for another
            problem.
    """
    found = read_plans(path, hint)
    if (found.num_steps, len(found.variances)) != shape:
        raise ValueError(
            f"{path}: for {found.num_steps} steps and {len(found.variances)} coordinates, this "
            f"run has {shape[0]} and {shape[1]}; give --num-steps {found.num_steps}, or plan "
            "again for these variances"
        )
    return found


EXPECTED = {"greedy", "beam", PER_DIMENSION}  # beside the canonical strategies


def plan_stages(
    folder: Path, stages: Sequence[Stage], problem: Problem, lr: float, given: Path | None
) -> dict[Stage, PlanSet]:
    """The plans of all stages, kept in ``folder`` as files of plans.json's format.

    Args:
        given: plans.json to take at every stage instead of planning.

    Raises:
        FileNotFoundError, ValueError: ``given`` will not do, or a file in ``folder`` is damaged.
    """
    with tqdm(stages, desc="plan", unit="stage") as bar:
        for stage in bar:
            path = folder / f"{stage_name(stage)}.json"
            if path.exists():
                continue
            if given is not None:
                plan_set = read_plan_set(given, problem.operators.shape)
            else:
                lines: list[str] = []
                plan_set = plan_stage(stage, problem, lr, lines.append)
                if missing := EXPECTED - plan_set.strategies.keys():
                    bar.write(f"{stage_name(stage)}, without {', '.join(sorted(missing))}:")
                    bar.write("\n".join(lines))
            # On one line, which is written ten times as fast: some plans are 128 times 31 merges.
            write_text(path, json.dumps(to_json(plan_set), allow_nan=False) + "\n")
    return read_stages(folder, stages, problem.operators.shape)


def plan_stage(
    stage: Stage, problem: Problem, lr: float, log: Callable[[str], object] = lambda line: None
) -> PlanSet:
    """The plans that are best for the gradient steps of one stage.

    Under the total budget time is divided evenly here, gradient steps are whole: a plan of M
    merges trains each of them up to one step less than it is planned for.
    """
    budget, epochs = stage
    rates = decay_rates(problem.second_moments, lr)
    if budget == "per_merge":
        time = Budget(train_time(lr, epochs), "per_merge")
    else:
        merges = max(1, problem.num_steps - 1)
        time = Budget(train_time(lr, merges * epochs), "total")
    return plan_every_strategy(problem, time, rates, log=log)


def read_stages(
    folder: Path, stages: Sequence[Stage], shape: tuple[int, ...]
) -> dict[Stage, PlanSet]:
    """What ``plan_stages`` kept for a problem of that shape; errors as of ``read_plan_set``."""
    hint = "remove it and run again"
    return {
        stage: read_plan_set(folder / f"{stage_name(stage)}.json", shape, hint) for stage in stages
    }


def stage_name(stage: Stage) -> str:
    """For files; those of a budget stand in order when sorted."""
    return f"{stage[0]}_{stage[1]:05d}"
