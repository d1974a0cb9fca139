"""The plans of a comparison: those of every strategy, for every budget and stage of training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from distill.config import Budget
from distill.law import decay_rates, train_time
from distill.plans import read_plan_set
from planner.budget import Budget as TimeBudget
from planner.plan_file import PER_DIMENSION, PlanSet, to_json
from planner.problem import Problem
from planner.table import plan_every_strategy
from vae.files import write_text

EXPECTED = {"greedy", "beam", PER_DIMENSION}  # beside the canonical strategies
Stage = tuple[Budget, int]  # a budget, and the gradient steps of each merge of T - 1


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
    stage: Stage, problem: Problem, lr: float, tell: Callable[[str], object] = lambda line: None
) -> PlanSet:
    """The plans that are best for the gradient steps of one stage.

    Under the total budget time is divided evenly here, gradient steps are whole: a plan of M
    merges trains each of them up to one step less than it is planned for.
    """
    budget, epochs = stage
    rates = decay_rates(problem.second_moments, lr)
    if budget == "per_merge":
        time = TimeBudget(train_time(lr, epochs), "per_merge")
    else:
        merges = max(1, problem.num_steps - 1)
        time = TimeBudget(train_time(lr, merges * epochs), "total")
    return plan_every_strategy(problem, time, rates, tell=tell)


def read_stages(
    folder: Path, stages: Sequence[Stage], shape: tuple[int, ...]
) -> dict[Stage, PlanSet]:
    """What ``plan_stages`` kept for a problem of that shape; errors as of ``read_plan_set``."""
    mend = "remove it and run again"
    return {
        stage: read_plan_set(folder / f"{stage_name(stage)}.json", shape, mend) for stage in stages
    }


def stage_name(stage: Stage) -> str:
    """For files; those of a budget stand in order when sorted."""
    return f"{stage[0]}_{stage[1]:05d}"
