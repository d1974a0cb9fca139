"""Cells of the synthetic experiments: one T, strategy and budget; all variances and trials."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from diffusion.schedule import cosine_schedule
from distill.config import SyntheticConfig
from distill.inputs import (
    BatchRule,
    Inputs,
    gaussian_inputs,
    redrawn_gaussian_inputs,
    shared_gaussian_inputs,
)
from distill.law import refuse_unstable, sgd_shrinkage, simulated_batch_operators
from distill.stage_plans import plan_strategy
from distill.train import count_fits, train_students
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.read import reading
from experiment.seeds import problem_seed
from experiment.tensors import checked_tensor, read_tensors, write_tensors
from planner.plan import Plan
from planner.problem import Problem, make_problem
from planner.value import per_dimension_operator

Array = NDArray[np.float64]
CELLS_KIND = "mergelab synthetic cells, format 1"
# In float32 a student stops about 1e-6 short of its target, where its steps fall below the
# resolution of theta: a sixth of the spread of the cells near variance 1.
TRAINED_AS = torch.float64
# Which batches the published spreads come from (ERRATA P-8): BOOT keeps the one batch of its one
# start T for all stages, consistency one (x_0, eps) draw for all of its. The spreads of progressive
# are those of a batch a merge; with one a time, its student of time T would see a single batch in
# all rounds, and its spread would be 1.7 times the published one.
FIXED_RULES: dict[str, BatchRule] = {
    "vanilla": "per_time",
    "progressive": "per_merge",
    "sequential_consistency": "shared",
    "sequential_boot": "per_time",
}


@dataclass(frozen=True, eq=False)
class Cells:
    """Signed errors a - S of one strategy's students."""

    errors: Array  # measured, (trials, d)
    predicted: Array  # closed form with the expected shrinkage, (d,)


def batch_rule(strategy: str, batches: Literal["fixed", "fresh"]) -> BatchRule:
    """Which batches the merges of a strategy see; those of plans of ours one a time step."""
    return "fresh" if batches == "fresh" else FIXED_RULES.get(strategy, "per_time")


def open_synthetic_run(
    config: SyntheticConfig, job: str, num_steps: list[int], fingerprints: dict[str, str]
) -> torch.device:
    """Refuse what cannot train, then open the run folder.

    Args:
        fingerprints: Name of each file that decides the numbers -> its SHA-256.

    Raises:
        ValueError: the learning rate is unstable, or the folder holds another run.
    """
    device = pick_device(config.device) if config.engine == "sgd" else torch.device("cpu")
    for steps in num_steps:
        problem = make_problem(cosine_schedule(steps), np.array(config.variances))
        refuse_unstable(config.lr, problem.second_moments, problem.variances)
    open_run(config.out, job, config, fingerprints, str(device))
    return device


def load_or_compute_cells(
    config: SyntheticConfig,
    num_steps: int,
    strategy: str,
    epochs: int,
    device: torch.device,
    given: tuple[Plan, ...] | None = None,
) -> Cells:
    """The cells from the run folder if finished, else computed and kept there.

    Args:
        given: A plan a variance; without them, those that the strategy's name stands for.

    Raises:
        FloatingPointError: a student diverged.
        ValueError: a file in the run folder is damaged.
    """
    path = config.out / "cells" / f"{num_steps}_{strategy}_{epochs}.safetensors"
    if config.recompute or not path.exists():
        problem = make_problem(cosine_schedule(num_steps), np.array(config.variances))
        save_cells(path, _compute(config, problem, strategy, epochs, device, given))
    return load_cells(path, config.trials, len(config.variances))


def _compute(
    config: SyntheticConfig,
    problem: Problem,
    strategy: str,
    epochs: int,
    device: torch.device,
    given: tuple[Plan, ...] | None,
) -> Cells:
    shrinkage = sgd_shrinkage(problem.second_moments, config.lr, epochs)
    plans = given or plan_strategy(strategy, problem, shrinkage)
    rule = batch_rule(strategy, config.batches)
    if config.engine == "sgd":
        operators = _train(config, problem, plans, rule, epochs, device)
    else:
        operators = simulated_batch_operators(
            problem,
            plans,
            rule,
            config.batch_size,
            config.lr,
            epochs,
            config.trials,
            problem_seed(config.seed, problem.num_steps),
        )
    return Cells(
        errors=operators - problem.surrogate,
        predicted=per_dimension_operator(plans, problem.operators, shrinkage) - problem.surrogate,
    )


def _train(
    config: SyntheticConfig,
    problem: Problem,
    plans: tuple[Plan, ...],
    rule: BatchRule,
    epochs: int,
    device: torch.device,
) -> Array:
    """Final operators by real training, (trials, d); every trial is a coordinate of its own."""
    trials = config.trials
    repeated = np.repeat(problem.variances, trials)
    repeated_plans = [plan for plan in plans for _ in range(trials)]
    inputs = _inputs(config, problem, repeated, rule, device)
    total = count_fits(repeated_plans) * epochs
    with tqdm(total=total, unit="step", position=1, leave=False) as bar:
        operators = train_students(
            repeated_plans,
            np.repeat(problem.operators, trials, axis=1),
            inputs,
            epochs,
            config.lr,
            device,
            bar.update,
            TRAINED_AS,
        )
    return operators.reshape(-1, trials).T


def _inputs(
    config: SyntheticConfig,
    problem: Problem,
    variances: Array,
    rule: BatchRule,
    device: torch.device,
) -> Inputs:
    seed = problem_seed(config.seed, problem.num_steps)
    if rule in ("per_merge", "fresh"):
        return redrawn_gaussian_inputs(
            problem.schedule, variances, config.batch_size, seed, device, fresh=rule == "fresh"
        )
    make = shared_gaussian_inputs if rule == "shared" else gaussian_inputs
    return make(problem.schedule, variances, config.batch_size, seed)


def save_cells(path: Path, cells: Cells) -> None:
    """Write them, whole or not at all."""
    tensors = {name: torch.from_numpy(getattr(cells, name)) for name in ("errors", "predicted")}
    write_tensors(path, tensors, {"kind": CELLS_KIND})


def load_cells(path: Path, trials: int, width: int) -> Cells:
    """Cells that a run kept, of so many trials and variances.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable, damaged, or of others.
    """
    tensors, _ = read_tensors(path, CELLS_KIND)
    with reading(path, "these cells", "remove it and run again, or give --recompute"):
        return Cells(
            errors=checked_tensor(tensors, "errors", torch.float64, (trials, width)).numpy(),
            predicted=checked_tensor(tensors, "predicted", torch.float64, (width,)).numpy(),
        )
