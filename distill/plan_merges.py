"""The job that plans every strategy for given variances, or those of latents."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diffusion.schedule import SCHEDULES, NoiseSchedule, find_schedule
from experiment.flags import refuse_below, refuse_not_positive
from experiment.folder import open_run
from experiment.write import sha256, write_json
from planner.budget import Budget
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet, to_json
from planner.problem import make_problem
from vae.latents import latents_path, load_latents

DEFAULT_STEPS = 32
PLANS = "plans.json"


@dataclass(frozen=True)
class PlanConfig:
    """Plan the merges of every strategy."""

    out: Path
    """Run folder for plans.json, the table and the picture."""
    variances: tuple[float, ...] | None = None
    """Variances of the coordinates; or give --latents."""
    latents: Path | None = None
    """Folder of encode_latents: plan for the variances of its coordinates."""
    num_steps: int | None = None
    """Teacher steps T; 32, or those of the schedule's file."""
    train_time: float = 6.4
    """Training time s: the shrinkage of a merge that starts at t is exp(-2 s n_t)."""
    budget: Literal["per_merge", "total"] = "per_merge"
    """Whether every merge trains for --train-time, or the merges of a plan share it."""
    schedule: str = "cosine"
    """cosine, linear_beta, or a JSON file {"alpha": [...], "sigma": [...]} of T + 1 numbers."""
    full_search: bool = False
    """Search each coordinate's plan in O(T**3) even where theory knows it."""

    def __post_init__(self) -> None:
        if (self.variances is None) == (self.latents is None):
            raise ValueError("give either --variances or --latents")
        refuse_below(self, 1, "num_steps")
        refuse_not_positive(self, "train_time")


def plan_merges(config: PlanConfig, log: Callable[[str], None]) -> PlanSet:
    """Plan every strategy and write ``plans.json`` in the run folder.

    Raises:
        FileNotFoundError, ValueError: schedule, variances, latents or run folder will not do.
    """
    schedule = _schedule(config)
    fingerprints = {}
    if config.latents is None:
        variances = np.array(config.variances, dtype=np.float64)
    else:
        path = latents_path(config.latents)
        variances = load_latents(path).variances.numpy()
        fingerprints["latents"] = sha256(path)
    if config.schedule not in SCHEDULES:
        fingerprints["schedule"] = sha256(Path(config.schedule))
    budget = Budget(config.train_time, config.budget)
    problem = make_problem(schedule, variances)
    open_run(config.out, "plan_merges", config, fingerprints, "cpu")

    plan_set = plan_every_strategy(problem, budget, full_search=config.full_search, log=log)
    write_json(config.out / PLANS, to_json(plan_set))
    return plan_set


def _schedule(config: PlanConfig) -> NoiseSchedule:
    schedule = find_schedule(config.schedule, config.num_steps or DEFAULT_STEPS)
    if config.num_steps not in (None, schedule.num_steps):
        raise ValueError(
            f"--num-steps {config.num_steps}, but {config.schedule} has {schedule.num_steps}"
        )
    return schedule
