"""What a worker does, one job: from plans to students, by gradient steps or in closed form.

    sgd    takes every gradient step, in float32.
    exact  takes none. A gradient step on ``mean (a x - target x)**2`` multiplies ``a - target`` by

               1 - 2 lr |emb|**2 m,  m = mean of x_start**2 over the batch           (SPEC 5)

           and nothing else of the batch enters, whatever its law, because the student is
           diagonal. With one fixed batch a time, n steps on it therefore leave the share
           g = (bracket)**n of the way undone, and the recursion of [OM] eq. 16 with these g is
           what the steps lead to. So the batches are drawn, the very ones that ``sgd`` would
           train on, Gaussian or real latents noised, their mean squares taken, and the recursion
           evaluated, all in float64. The engines differ by the rounding of float32 only.

Both are set beside the law of such runs: the closed form at the expected mean squares, and the
operators of ``SIMULATED_RUNS`` runs whose mean squares are drawn (``distill.law``). The exact
engine of the synthetic experiments is another, which draws no batch at all: ``distill.law``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffusion.schedule import cosine_schedule
from distill.comparison import Students
from distill.inputs import Inputs, gaussian_inputs, latent_inputs, mean_squares, select_coordinates
from distill.jobs import Job
from distill.law import sgd_shrinkage, simulate_operators
from distill.train import train_students
from experiment.device import pick_device
from experiment.write import sha256
from planner.problem import Problem, make_problem
from planner.value import per_dimension_operator, w2_squared
from vae.latents import load_latents

Array = NDArray[np.float64]
Engine = Literal["sgd", "exact"]
SIMULATED_RUNS = 200


@dataclass(frozen=True)
class Training:
    """All that jobs have in common: small, so that any process or machine can be sent it."""

    num_steps: int
    variances: tuple[float, ...]
    latents: tuple[Path, str] | None  # file and SHA-256 of what is noised; None for Gaussians
    batch_size: int
    lr: float
    engine: Engine
    device: str  # of sgd; auto is decided where the job is done

    def problem(self) -> Problem:
        """The planning problem that the students solve."""
        return make_problem(cosine_schedule(self.num_steps), np.array(self.variances))


def do_job(
    training: Training, job: Job, on_update: Callable[[], object] = lambda: None
) -> Students:
    """Train the students of one job.

    Args:
        on_update: Called after every gradient step of ``sgd``, ``job.num_updates`` times.

    Raises:
        FileNotFoundError, ValueError: the latents are missing here, or others.
        FloatingPointError: a student stopped being finite.
    """
    problem = training.problem()
    inputs = inputs_of(training, job.seed)
    simulated = simulate_operators(
        job.plans, problem.operators, inputs, training.lr, job.steps, SIMULATED_RUNS, job.seed
    )
    started = time.perf_counter()
    if training.engine == "sgd":
        operator = _train(training, problem, inputs, job, on_update)
    else:
        shrinkage = sgd_shrinkage(_mean_squares(training, job.seed), training.lr, job.steps)
        operator = per_dimension_operator(job.plans, problem.operators, shrinkage)
    seconds = time.perf_counter() - started
    expected_shrinkage = sgd_shrinkage(inputs.second_moments, training.lr, job.steps)
    return Students(
        engine=training.engine,
        merges=job.num_merges,
        rounds=job.num_rounds,
        gradient_steps=job.gradient_steps,
        seconds=seconds,
        operator=operator,
        predicted=per_dimension_operator(job.plans, problem.operators, expected_shrinkage),
        expected=simulated.mean(axis=0),
        spread=simulated.std(axis=0, ddof=1),
        w2_squared_runs=w2_squared(simulated, problem.surrogate),
    )


def _train(
    training: Training,
    problem: Problem,
    inputs: Inputs,
    job: Job,
    on_update: Callable[[], object],
) -> Array:
    """Final operators by real gradient steps, (d,); coordinates of equal steps go together."""
    device = pick_device(training.device)
    operator = np.empty(len(job.plans))
    for steps, coordinates in job.groups():
        operator[coordinates] = train_students(
            [job.plans[i] for i in coordinates],
            problem.operators[:, coordinates],
            select_coordinates(inputs, coordinates),
            steps,
            training.lr,
            device,
            on_update,
        )
    return operator


@lru_cache(maxsize=4)
def inputs_of(training: Training, seed: int) -> Inputs:
    """The batches of one seed: one fixed batch a time, for all strategies and stages."""
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
    """Latents less their mean, (N, d) float32."""
    latents = load_latents(path)
    if sha256(path) != fingerprint:
        raise ValueError(f"{path}: not the latents that the comparison was started with")
    if latents.codes is None:
        raise ValueError(f"{path}: holds moments alone, not the codes of images")
    return (latents.codes.double() - latents.mean).float()
