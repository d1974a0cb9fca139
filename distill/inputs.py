"""Training inputs of linear students: noised latents x_t, Gaussian or real.

``draw(t)`` gives the one fixed batch (B, d) of time t, on the CPU. It depends only on (seed, t):
the order of merges, resuming and the device do not change it, and all merges that start at t share
it, in all strategies. Inputs that give every merge its own batches have ``redraw`` as well.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.gaussian import noised_variances
from diffusion.schedule import NoiseLevels
from experiment.seeds import student_generator
from planner.plan import Plan

Array = NDArray[np.float64]

BatchRule = Literal["per_time", "per_merge", "shared", "fresh"]
"""What one batch of Gaussian inputs is used for: ``per_time`` all merges that start at its time,
``per_merge`` one merge, ``shared`` all merges (one draw of (x_0, eps) gives every x_t), ``fresh``
one gradient step."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """A source of batches, and the two moments of x_t**2 from which students are predicted."""

    draw: Callable[[int], Tensor]
    """t -> x_t, (B, d) float32."""
    second_moments: Array
    """E[x_t**2] = n_t, (T, d); row t - 1 belongs to t."""
    relative_spreads: Array
    """Var(x_t**2) / n_t**2, (T, d); 2 for a Gaussian."""
    batch_size: int
    redraw: Callable[[Plan, int], Tensor] | None = None
    """(merge, gradient step) -> x_start, (B, d); None where merges share the batch of their
    time."""
    fresh: bool = False
    """Whether ``redraw`` gives a new batch at every gradient step, or one batch per merge."""


def gaussian_inputs(schedule: NoiseLevels, variances: Array, batch_size: int, seed: int) -> Inputs:
    """x_t ~ N(0, n_t), the noised marginal of latents N(0, diag(variances))."""
    moments = noised_variances(schedule, variances)
    scales = torch.from_numpy(np.sqrt(moments)).float()

    def draw(t: int) -> Tensor:
        generator = student_generator(seed, t)
        return torch.randn(batch_size, len(variances), generator=generator) * scales[t - 1]

    return Inputs(draw, moments, np.full(moments.shape, 2.0), batch_size)


def shared_gaussian_inputs(
    schedule: NoiseLevels, variances: Array, batch_size: int, seed: int
) -> Inputs:
    """x_t = alpha_t x_0 + sigma_t eps with one draw of x_0 and eps for all t.

    At every single t the law is that of ``gaussian_inputs``, but the batches of two times are
    dependent.
    """
    moments = noised_variances(schedule, variances)
    deviations = torch.from_numpy(np.sqrt(variances)).float()

    def draw(t: int) -> Tensor:
        generator = student_generator(seed, 0)  # nothing else is drawn for t = 0
        x_0 = torch.randn(batch_size, len(variances), generator=generator) * deviations
        eps = torch.randn(batch_size, len(variances), generator=generator)
        return float(schedule.alpha[t]) * x_0 + float(schedule.sigma[t]) * eps

    return Inputs(draw, moments, np.full(moments.shape, 2.0), batch_size)


def redrawn_gaussian_inputs(
    schedule: NoiseLevels,
    variances: Array,
    batch_size: int,
    seed: int,
    device: torch.device,
    fresh: bool,
) -> Inputs:
    """x_t ~ N(0, n_t), drawn on ``device`` for every merge, or for every gradient step of it.

    Args:
        fresh: Whether every gradient step has its own batch.
    """
    fixed = gaussian_inputs(schedule, variances, batch_size, seed)
    scales = torch.from_numpy(np.sqrt(fixed.second_moments)).float().to(device)

    def redraw(jump: Plan, step: int) -> Tensor:
        generator = student_generator(seed, jump.start, jump.stop, step, device=device)
        size = (batch_size, len(variances))
        return torch.randn(size, generator=generator, device=device) * scales[jump.start - 1]

    return replace(fixed, redraw=redraw, fresh=fresh)


def latent_inputs(schedule: NoiseLevels, x_0: Tensor, batch_size: int, seed: int) -> Inputs:
    """x_t = alpha_t x_0 + sigma_t eps for rows of ``x_0`` drawn with replacement.

    Args:
        x_0: Latents minus their mean, (N, d) float32.
    """
    variances = x_0.double().square().mean(dim=0).numpy()
    fourth_moments = x_0.double().pow(4).mean(dim=0).numpy()
    moments = noised_variances(schedule, variances)

    def draw(t: int) -> Tensor:
        generator = student_generator(seed, t)
        rows = torch.randint(len(x_0), (batch_size,), generator=generator)
        eps = torch.randn(batch_size, x_0.shape[1], generator=generator)
        return float(schedule.alpha[t]) * x_0[rows] + float(schedule.sigma[t]) * eps

    # E[(alpha x + sigma eps)**4] by the binomial theorem; odd powers of eps vanish.
    alpha, sigma = schedule.alpha[1:, None], schedule.sigma[1:, None]
    fourth = alpha**4 * fourth_moments + 6 * alpha**2 * sigma**2 * variances + 3 * sigma**4
    # Two values that are equally likely have the least spread, 0, and rounding makes it less.
    spreads = np.maximum(fourth / moments**2 - 1.0, np.finfo(float).eps)
    return Inputs(draw, moments, spreads, batch_size)


def mean_squares(inputs: Inputs) -> Array:
    """Mean squares m_t of the batches that ``inputs`` really draws, (T, d)."""
    steps = range(1, len(inputs.second_moments) + 1)
    return np.stack([inputs.draw(t).double().square().mean(dim=0).numpy() for t in steps])
