"""The command plan_merges: plan every strategy for given variances, or for those of latents.

It imports PyTorch only to read latents.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from diffusion.schedule import SCHEDULES, NoiseSchedule, find_schedule
from distill.config import PlanConfig
from experiment.folder import open_run
from experiment.write import sha256, write_json
from planner.budget import Budget
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet, to_json
from planner.problem import make_problem

DEFAULT_STEPS = 32
PLANS = "plans.json"


def plan_merges(config: PlanConfig, log: Callable[[str], None]) -> PlanSet:
    """Plan every strategy and write ``plans.json`` in the run folder.

    Args:
        log: Called with one line per decision of the planner; see ``plan_every_strategy``.

    Raises:
        FileNotFoundError, ValueError: schedule, variances, latents or run folder cannot be used.
    """
    schedule = _schedule(config)
    fingerprints = {}
    if config.latents is None:
        variances = np.array(config.variances, dtype=np.float64)
    else:
        from vae.latents import latents_path, load_latents  # imports PyTorch

        path = latents_path(config.latents)
        variances = load_latents(path).variances.numpy()
        fingerprints["latents"] = sha256(path)
    if config.schedule not in SCHEDULES:
        fingerprints["schedule"] = sha256(Path(config.schedule))
    budget = Budget(config.train_time, config.budget)
    problem = make_problem(schedule, variances, config.students)
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
