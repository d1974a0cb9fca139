"""How one job of a comparison is done: from plans to students, by one of two engines.

    sgd          takes every gradient step, in float32.
    closed_form  takes none. A gradient step on ``mean (a x - target x)**2`` multiplies
                 ``a - target`` by

                     1 - 2 lr |emb|**2 m,  m = mean of x_start**2 over the batch     (SPEC 5)

                 and nothing else of the batch enters, whatever its law, because the student is
                 diagonal. With one fixed batch per time, n steps therefore leave the share
                 g = (bracket)**n of the distance to the target, and the recursion of [OM] eq. 16
                 with these g gives the operator that the steps lead to. So this engine draws the
                 batches that ``sgd`` would train on, takes their mean squares, and evaluates the
                 recursion, all in float64. The two engines differ only by the rounding of float32.

Both report, beside the measured operator, the law of such training runs (``distill.law``): the
closed form at the expected mean squares, and the operators of ``SIMULATED_RUNS`` simulated runs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffusion.schedule import cosine_schedule
from distill.config import RECORDED_ENGINE, Engine
from distill.inputs import Inputs, gaussian_inputs, latent_inputs, mean_squares
from distill.jobs import Job
from distill.law import sgd_shrinkage, simulate_operators
from distill.train import train_students
from experiment.device import pick_device
from experiment.write import sha256
from planner.problem import Problem, make_problem
from planner.value import per_dimension_operator, w2_squared
from vae.latents import load_latents

Array = NDArray[np.float64]
SIMULATED_RUNS = 200


@dataclass(frozen=True)
class Training:
    """What all jobs of a comparison have in common; small enough to send to any machine."""

    num_steps: int
    variances: tuple[float, ...]
    latents: tuple[Path, str] | None
    """File and SHA-256 of the latents to train on; None for Gaussian inputs."""
    batch_size: int
    lr: float
    engine: Engine
    device: str
    """Device of the engine sgd; the machine that does the job decides what auto means."""

    def problem(self) -> Problem:
        """The problem that the students solve."""
        return make_problem(cosine_schedule(self.num_steps), np.array(self.variances))


@dataclass(frozen=True, eq=False)
class Students:
    """The one-step student that a job ends with, beside the law of such trainings."""

    engine: Engine = field(metadata=RECORDED_ENGINE)
    merges: int
    """Merges of the coordinate that makes most."""
    rounds: int
    """Rounds of merges that wait for each other."""
    gradient_steps: int
    """Gradient steps over all merges, of the coordinate that takes most."""
    seconds: float
    """Duration of the training."""
    operator: Array
    """Measured, (d,)."""
    predicted: Array
    """Closed form with the expected shrinkage, (d,)."""
    expected: Array
    """Mean over simulated runs, (d,)."""
    spread: Array
    """Standard deviation over simulated runs, (d,)."""
    w2_squared_runs: Array
    """Squared W2 to the surrogate of each simulated run, (SIMULATED_RUNS,)."""


def do_job(training: Training, job: Job, on_step: Callable[[], object] = lambda: None) -> Students:
    """Train the students of one job.

    Args:
        on_step: Called after every gradient step of ``sgd``, ``job.sequential_steps`` times.

    Raises:
        FileNotFoundError, ValueError: the latents are missing on this machine, or differ.
        FloatingPointError: a student stopped being finite.
    """
    problem = training.problem()
    operators, lr, steps = problem.operators, training.lr, job.steps_per_merge
    inputs = inputs_of(training, job.seed)

    started = time.perf_counter()
    if training.engine == "sgd":
        device = pick_device(training.device)
        operator = train_students(job.plans, operators, inputs, steps, lr, device, on_step)
    else:
        shrinkage = sgd_shrinkage(_mean_squares(training, job.seed), lr, steps)
        operator = per_dimension_operator(job.plans, operators, shrinkage)
    seconds = time.perf_counter() - started

    expected_shrinkage = sgd_shrinkage(inputs.second_moments, lr, steps)
    simulated = simulate_operators(
        job.plans, operators, inputs, lr, steps, SIMULATED_RUNS, job.seed
    )
    return Students(
        engine=training.engine,
        merges=job.num_merges,
        rounds=job.num_rounds,
        gradient_steps=job.gradient_steps,
        seconds=seconds,
        operator=operator,
        predicted=per_dimension_operator(job.plans, operators, expected_shrinkage),
        expected=simulated.mean(axis=0),
        spread=simulated.std(axis=0, ddof=1),
        w2_squared_runs=w2_squared(simulated, problem.surrogate),
    )


@lru_cache(maxsize=4)
def inputs_of(training: Training, seed: int) -> Inputs:
    """The batches of one seed: one fixed batch per time, for all strategies and stages."""
    schedule = training.problem().schedule
    if training.latents is None:
        variances = np.array(training.variances)
        return gaussian_inputs(schedule, variances, training.batch_size, seed)
    x_0 = _centred_latents(*training.latents)
    return latent_inputs(schedule, x_0, training.batch_size, seed)


@lru_cache(maxsize=4)
def _mean_squares(training: Training, seed: int) -> Array:
    return mean_squares(inputs_of(training, seed))


@lru_cache(maxsize=1)
def _centred_latents(path: Path, fingerprint: str) -> Tensor:
    """Latents minus their mean, (N, d) float32."""
    latents = load_latents(path)
    if sha256(path) != fingerprint:
        raise ValueError(f"{path}: not the latents that the comparison was started with")
    if latents.codes is None:
        raise ValueError(f"{path}: holds moments alone, not the codes of images")
    return (latents.codes.double() - latents.mean).float()
