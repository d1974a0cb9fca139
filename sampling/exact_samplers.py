"""Samplers on scalar Gaussians, where orders, local KL and marginals are known exactly."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Denoiser, gaussian_denoiser
from diffusion.grid import TimeGrid, grid_at
from diffusion.samplers import Update, sample

Array = NDArray[np.float64]

MEAN, VARIANCE = 0.7, 0.25  # moments of the data in errata L-7
ENDS = (-3.0, 3.0)  # ends of its grids, in the half log-SNR l
X_START = 1.0


def scalar_denoiser(mean: float, variance: float) -> Denoiser:
    """The exact denoiser of N(mean, variance)."""
    return gaussian_denoiser(Eigenbasis(np.array([mean]), np.array([variance]), np.eye(1)))


def smooth_grid(num_steps: int) -> TimeGrid:
    """Grid uniform in l between ``ENDS``."""
    return grid_at(np.linspace(*ENDS, num_steps + 1))


def alternating_grid(num_steps: int) -> TimeGrid:
    """Grid between ``ENDS`` with steps of relative length 1, 2, 1, 2, ...; r never tends to 1."""
    lengths = np.resize([1.0, 2.0], num_steps)
    share = np.append(0.0, lengths.cumsum()) / lengths.sum()
    return grid_at(ENDS[0] + (ENDS[1] - ENDS[0]) * share)


def marginal_variance(grid: TimeGrid, variance: float) -> Array:
    """Marginal variance m = alpha**2 V + sigma**2 at every level, (N + 1,)."""
    return grid.alpha**2 * variance + grid.sigma**2


def endpoint_error(update: Update, grid: TimeGrid) -> float:
    """Distance between the ends of a deterministic sampler and of the flow, both from ``X_START``.

    The flow of N(mu, V) keeps (x - alpha mu) / sqrt(m).
    """
    start = torch.tensor([[X_START]], dtype=torch.float64)
    found = sample(update, scalar_denoiser(MEAN, VARIANCE), grid, start).item()
    deviation = np.sqrt(marginal_variance(grid, VARIANCE))
    scaled = (X_START - grid.alpha[0] * MEAN) / deviation[0]
    return abs(found - grid.alpha[-1] * MEAN - deviation[-1] * scaled)


def end_variance(update: Update, grid: TimeGrid, variance: float) -> float:
    """Exact variance at the end on N(0, V) data, from the exact marginal at the start.

    For such data a sampler is linear. Row 0 starts at 1 without noise; row k starts at 0 with noise
    1 in step k only. The squares of their ends are the coefficients of the variances.
    """
    rows = torch.eye(grid.num_steps + 1, dtype=torch.float64)
    noise = rows[:, 1:].T[:, :, None]  # (N, N + 1, 1)
    found = sample(update, scalar_denoiser(0.0, variance), grid, rows[:, :1], noise).flatten()
    shares = found.square().numpy()
    return float(shares[0] * marginal_variance(grid, variance)[0] + shares[1:].sum())


def local_kl(update: Update, l_start: float, h: float, variance: float) -> float:
    """KL(x after one step || exact marginal there) on N(0, V) data, exact before the step.

        KL = (rho - 1 - log rho) / 2,  rho = variance / exact variance

    Multistep samplers get the state of the exact flow one step of the same length earlier.
    """
    grid = grid_at(np.array([l_start - h, l_start, l_start + h]))
    past, here, there = marginal_variance(grid, variance)
    denoise = scalar_denoiser(0.0, variance)
    x = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    noise = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    step = grid.steps()[1]
    before = denoise(x * math.sqrt(past / here), float(grid.alpha[0]), float(grid.sigma[0]))
    now = denoise(x, step.alpha_t, step.sigma_t)
    gain, spread = update(x, step, now, before, noise).flatten().tolist()
    excess = (gain**2 * here + spread**2) / there - 1
    return (excess - math.log1p(excess)) / 2


def fitted_exponent(lengths: Array, values: Array) -> float:
    """Least-squares slope of log value over log length."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])
