"""Time the samplers' own work beside the network's, against diffusers' loop in the same run.

Example:
    python -m benchmarks.bench_samplers
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from diffusion.grid import TimeGrid, uniform_log_snr_grid
from diffusion.samplers import SAMPLERS, sample
from experiment.seeds import walk_noise
from sampling.estimator_file import embedded_estimator, load_estimator
from sampling.noise_estimator import NoiseEstimator
from scripts.cli import main

Scheduler: TypeAlias = DDIMScheduler | DDPMScheduler | DPMSolverMultistepScheduler


@dataclass(frozen=True)
class BenchConfig:
    """What to time."""

    steps: int = 20
    """Steps of every sampler, uniform in the half log-SNR."""
    batch: int = 64
    """Samples walked together."""
    repeats: int = 15
    """Rounds; within each, all contenders run in turn. Medians of processor time count, which
    other work on the machine disturbs less than the clock."""


def run(config: BenchConfig) -> None:
    """Print one line a sampler."""
    model, _ = load_estimator(embedded_estimator())
    grid = uniform_log_snr_grid(config.steps, q_max=20.0, q_min=0.02)
    dim = len(model.mean)
    x_start, noise = walk_noise(range(config.batch), grid.num_steps, dim)
    print(
        f"{config.steps} steps, batch {config.batch}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    contenders: dict[str, Callable[[], object]] = {
        "network alone": partial(network_alone, model, grid, x_start)
    }
    for name, update in SAMPLERS.items():
        contenders[name] = partial(sample, update, model.denoise, grid, x_start, noise)
    for name, make in schedulers(grid).items():
        contenders[f"diffusers {name}"] = partial(diffusers_loop, make, model, grid, x_start)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(config.repeats):
        for name, work in contenders.items():
            started = time.process_time()
            work()
            seconds[name].append(time.process_time() - started)
    network = np.array(seconds["network alone"])
    for name, taken in seconds.items():
        per_step = 1e3 * np.median(taken) / config.steps
        overhead = np.median(np.array(taken) / network) - 1
        print(f"{name:32} {per_step:7.3f} ms a step  overhead {overhead:7.1%}")
    started = time.process_time()
    walk_noise(range(config.batch), grid.num_steps, dim)
    drawn = (time.process_time() - started) / config.steps
    print(f"{'noise of all seeds':32} {1e3 * drawn:7.3f} ms a step, drawn beforehand")


@torch.no_grad()
def network_alone(model: NoiseEstimator, grid: TimeGrid, x: torch.Tensor) -> None:
    """The same calls of the network, and nothing else."""
    for step in grid.steps():
        model.denoise(x, step.alpha_t, step.sigma_t)


def schedulers(grid: TimeGrid) -> dict[str, Callable[[], Scheduler]]:
    """diffusers' schedulers on this grid: name -> one that is ready to step."""
    abar = grid.alpha[grid.sigma > 0][::-1] ** 2
    table = {
        "num_train_timesteps": grid.num_steps,
        "trained_betas": 1 - abar / np.append(1.0, abar[:-1]),
    }

    def dpmpp() -> DPMSolverMultistepScheduler:
        scheduler = DPMSolverMultistepScheduler(**table)
        scheduler.set_timesteps(timesteps=list(range(grid.num_steps))[::-1])
        return scheduler

    def ready(scheduler: DDIMScheduler | DDPMScheduler) -> DDIMScheduler | DDPMScheduler:
        scheduler.set_timesteps(grid.num_steps)
        return scheduler

    return {
        "dpmpp_2m": dpmpp,
        "ddim": lambda: ready(DDIMScheduler(**table, clip_sample=False)),
        "ddpm_small": lambda: ready(DDPMScheduler(**table, clip_sample=False)),
    }


@torch.no_grad()
def diffusers_loop(
    make: Callable[[], Scheduler], model: NoiseEstimator, grid: TimeGrid, x: torch.Tensor
) -> torch.Tensor:
    """The loop of diffusers' pipelines, around the same network, with a scheduler made anew."""
    scheduler = make()
    for t, step in zip(scheduler.timesteps, grid.steps(), strict=True):
        x_t = scheduler.scale_model_input(x, t)
        eps = model.denoise(x_t, step.alpha_t, step.sigma_t).eps
        x = scheduler.step(eps, t, x).prev_sample
    return x


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
