"""Synthetic experiments, the second laboratory of this package: students of scalar Gaussians.

The paper's tables are about scalar Gaussians, not about latents. A cell is one strategy at one T
and one training length, with all variances and trials; the commands simulate_students and
study_convergence are made of cells. A run folder keeps each cell as soon as it is computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.schedule_choice import choose_schedule, schedule_fingerprint
from distill.config import SyntheticConfig
from distill.inputs import (
    BatchRule,
    Inputs,
    gaussian_inputs,
    redrawn_gaussian_inputs,
    shared_gaussian_inputs,
)
from distill.law import (
    decay_rates,
    operators_after,
    refuse_unstable,
    sgd_shrinkage,
    simulate_gaussian_operators,
    train_time,
)
from distill.train import count_steps, train_students
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.progress import tqdm
from experiment.read import reading
from experiment.seeds import problem_seed
from experiment.tensors import checked_tensor, read_tensors, write_tensors
from planner.denoiser import best_chains
from planner.per_dimension import per_dimension_plans
from planner.plan import Plans
from planner.plan_set import PER_DIMENSION
from planner.problem import DenoiserProblem, Problem, make_problem
from planner.strategies import CANONICAL

Array = NDArray[np.float64]
CELLS_KIND = "mergelab synthetic cells, format 1"
# In float32 a student stops about 1e-6 from its target, where its steps fall below the resolution
# of theta: a sixth of the spread of the cells near variance 1.
TRAINED_AS = torch.float64
# The batches from which the published spreads come (ERRATA P-8). BOOT uses one batch at its one
# start T in all its merges; consistency uses one draw of (x_0, eps) in all of its merges. The
# spreads of progressive are those of one batch per merge: with one batch per time, the student of
# time T would see a single batch in all rounds, and its spread would be 1.7 times the published.
FIXED_RULES: dict[str, BatchRule] = {
    "vanilla": "per_time",
    "progressive": "per_merge",
    "sequential_consistency": "shared",
    "sequential_boot": "per_time",
}


@dataclass(frozen=True, eq=False)
class Cells:
    """Signed errors a - target of one strategy's students, for all variances and trials."""

    errors: Array
    """Measured, (trials, d)."""
    predicted: Array
    """Closed form with the expected shrinkage, (d,)."""


def open_synthetic_run(
    config: SyntheticConfig, job: str, num_steps: Sequence[int], fingerprints: dict[str, str]
) -> torch.device:
    """Refuse what cannot train, then open the run folder.

    Args:
        job: Name of the command.
        num_steps: Every T of the run.
        fingerprints: Name of each file that decides the numbers -> its SHA-256.

    Returns:
        The device that trains.

    Raises:
        ValueError: the learning rate is unstable, or the folder holds another run.
    """
    device = pick_device(config.device) if config.engine == "sgd" else torch.device("cpu")
    for steps in num_steps:
        refuse_unstable(config.lr, problem_of(config, steps))
    inputs = fingerprints | schedule_fingerprint(config)
    open_run(config.out, job, config, inputs, str(device), added_later=("compare",))
    return device


def load_or_compute_cells(
    config: SyntheticConfig,
    num_steps: int,
    strategy: str,
    steps_per_merge: int,
    device: torch.device,
    given: Mapping[str, Plans] | None = None,
) -> Cells:
    """The cells from the run folder if they are finished, else computed and kept there.

    Args:
        given: Strategy -> one plan per variance, in place of the plans that names stand for.

    Raises:
        FloatingPointError: a student diverged.
        ValueError: a file in the run folder is damaged.
    """
    path = config.out / "cells" / f"{num_steps}_{strategy}_{steps_per_merge}.safetensors"
    if path.exists() and not config.recompute:
        return load_cells(path, config.trials, len(config.variances))
    problem = problem_of(config, num_steps)
    plans = (
        given[strategy] if given else plan_strategy(strategy, problem, config.lr, steps_per_merge)
    )
    operators = run_trials(config, problem, strategy, plans, steps_per_merge, device)
    predicted = operators_after(problem, plans, problem.second_moments, config.lr, steps_per_merge)
    cells = Cells(operators - problem.target, predicted - problem.target)
    save_cells(path, cells)
    return cells


def problem_of(config: SyntheticConfig, num_steps: int) -> Problem:
    """The problem that the students of one T solve."""
    schedule = choose_schedule(config, num_steps)
    return make_problem(schedule, np.array(config.variances), config.students)


def plan_strategy(name: str, problem: Problem, lr: float, steps_per_merge: int) -> Plans:
    """One plan per coordinate of a canonical strategy or of ``per_dimension``."""
    if name != PER_DIMENSION:
        return (CANONICAL[name](problem.num_steps),) * len(problem.variances)
    if problem.parametrisation.kind == "denoiser":
        time = train_time(lr, steps_per_merge)
        return best_chains(DenoiserProblem(problem, time, partial(decay_rates, lr=lr)))
    shrinkage = sgd_shrinkage(problem.second_moments, lr, steps_per_merge)
    return per_dimension_plans(problem.with_shrinkage(shrinkage))


def run_trials(
    config: SyntheticConfig,
    problem: Problem,
    strategy: str,
    plans: Plans,
    steps_per_merge: int,
    device: torch.device,
) -> Array:
    """Final operators of all trials, trained or simulated, (trials, d)."""
    rule = batch_rule(strategy, config.batches)
    seed = problem_seed(config.seed, problem.num_steps)
    if config.engine == "simulated":
        return simulate_gaussian_operators(
            problem,
            plans,
            rule,
            config.batch_size,
            config.lr,
            steps_per_merge,
            config.trials,
            seed,
        )
    # Every trial of every variance is a coordinate of its own.
    repeated_plans = [plan for plan in plans for _ in range(config.trials)]
    repeated = problem.select(np.repeat(np.arange(len(problem.variances)), config.trials))
    inputs = _inputs(config, repeated, rule, seed, device)
    total = count_steps(repeated_plans, steps_per_merge)
    with tqdm(total=total, unit="step", position=1, leave=False) as bar:
        operators = train_students(
            repeated_plans,
            repeated,
            inputs,
            steps_per_merge,
            config.lr,
            device,
            bar.update,
            TRAINED_AS,
        )
    return operators.reshape(-1, config.trials).T


def batch_rule(strategy: str, batches: Literal["fixed", "fresh"]) -> BatchRule:
    """What one batch is used for under a strategy; planned strategies have one batch per time."""
    return "fresh" if batches == "fresh" else FIXED_RULES.get(strategy, "per_time")


def _inputs(
    config: SyntheticConfig,
    problem: Problem,
    rule: BatchRule,
    seed: int,
    device: torch.device,
) -> Inputs:
    schedule, variances, size = problem.schedule, problem.variances, config.batch_size
    if rule == "shared":
        return shared_gaussian_inputs(schedule, variances, size, seed)
    if rule == "per_time":
        return gaussian_inputs(schedule, variances, size, seed)
    return redrawn_gaussian_inputs(schedule, variances, size, seed, device, fresh=rule == "fresh")


def save_cells(path: Path, cells: Cells) -> None:
    """Write cells, whole or not at all."""
    tensors = {name: torch.from_numpy(getattr(cells, name)) for name in ("errors", "predicted")}
    write_tensors(path, tensors, {"kind": CELLS_KIND})


def load_cells(path: Path, trials: int, width: int) -> Cells:
    """Read cells that a run kept.

    Args:
        trials: Number of trials that the cells must have.
        width: Number of variances d that the cells must have.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable, damaged, or of another shape.
    """
    hint = "remove it and run again, or give --recompute"
    tensors, _ = read_tensors(path, CELLS_KIND, hint)
    with reading(path, "these cells", hint):
        return Cells(
            errors=checked_tensor(tensors, "errors", torch.float64, (trials, width)).numpy(),
            predicted=checked_tensor(tensors, "predicted", torch.float64, (width,)).numpy(),
        )
