"""The job that plans every strategy for given variances, or those of latents."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diffusion.gaussian import check_variances
from diffusion.schedule import (
    NoiseSchedule,
    cosine_schedule,
    linear_beta_schedule,
    read_schedule,
)
from planner.budget import Budget
from planner.plan_file import PlanSet, to_json
from planner.table import plan_every_strategy
from vae.files import sha256, write_json
from vae.latents import latents_path, load_latents
from vae.run_folder import open_run

SCHEDULES = {"cosine": cosine_schedule, "linear-beta": linear_beta_schedule}
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
    budget: Literal["per-merge", "total"] = "per-merge"
    """Whether every merge trains for --train-time, or the merges of a plan share it."""
    schedule: str = "cosine"
    """cosine, linear-beta, or a JSON file {"alpha": [...], "sigma": [...]} of T + 1 numbers."""
    full_search: bool = False
    """Search each coordinate's plan in O(T**3) even where theory knows it."""

    def __post_init__(self) -> None:
        if (self.variances is None) == (self.latents is None):
            raise ValueError("give either --variances or --latents")
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"--num-steps must be at least 1, got {self.num_steps}")
        if not (np.isfinite(self.train_time) and self.train_time > 0):
            raise ValueError(f"--train-time must be a finite number above 0, got {self.train_time}")


def make_plans(config: PlanConfig, tell: Callable[[str], None]) -> PlanSet:
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
    check_variances(variances)
    open_run(config.out, "plan_merges", config, fingerprints, "cpu")

    plan_set = plan_every_strategy(schedule, variances, budget, config.full_search, tell)
    write_json(config.out / PLANS, to_json(plan_set))
    return plan_set


def _schedule(config: PlanConfig) -> NoiseSchedule:
    if config.schedule in SCHEDULES:
        return SCHEDULES[config.schedule](config.num_steps or DEFAULT_STEPS)
    path = Path(config.schedule)
    if not path.is_file():
        raise FileNotFoundError(
            f"--schedule {path}: no such file, and none of {', '.join(SCHEDULES)}"
        )
    schedule = read_schedule(path)
    if config.num_steps not in (None, schedule.num_steps):
        raise ValueError(f"--num-steps {config.num_steps}, but {path} has {schedule.num_steps}")
    return schedule
