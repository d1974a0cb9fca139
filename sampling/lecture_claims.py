"""Claims of [SCH]: the printed formula, the correct one, and the measured value of each."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from diffusion.grid import TimeGrid, grid_at
from diffusion.samplers import SAMPLERS
from sampling.exact_samplers import (
    MEAN,
    VARIANCE,
    X_START,
    alternating_grid,
    end_variance,
    endpoint_error,
    fitted_exponent,
    local_kl,
    marginal_variance,
    smooth_grid,
)

STEP_COUNTS = (20, 80, 320)
KL_LENGTHS = np.array([0.1, 0.05, 0.025, 0.0125])
DRIFT_SLOPE, DRIFT_TIME = 0.7, 1e-3  # w = 0.7 z, and h
KL_START = 0.2  # the half log-SNR where a step's KL is measured
Factors = tuple[float, float]
"""Factors of x_t and of eps in a printed update."""


@dataclass(frozen=True)
class Claim:
    """A row of ``results.csv``: one claim of the source with measurements."""

    source: str  # equation
    claim: str
    printed: str  # measured with the printed formula
    corrected: str  # formula that this project uses
    measured: str  # measured with that formula


def printed_euler(alpha_t: float, sigma_t: float, alpha_u: float, sigma_u: float) -> Factors:
    """[SCH] eq. 55 with (46) and (47): x_u = x_t + h (a' x_t - b' eps / sigma_t)."""
    h = math.log(alpha_u / sigma_u * sigma_t / alpha_t)
    return 1 + (alpha_u / alpha_t - 1), -h * (alpha_u - alpha_t) / sigma_t


def printed_ddim(alpha_t: float, sigma_t: float, alpha_u: float, sigma_u: float) -> Factors:
    """First line of [SCH] eq. 53: the factor of eps is -(alpha_u - alpha_t) / sigma_t."""
    return alpha_u / alpha_t, -(alpha_u - alpha_t) / sigma_t


def printed_endpoint_error(
    update: Callable[[float, float, float, float], Factors],
    grid: TimeGrid,
    x_start: float = X_START,
) -> float:
    """Distance between the ends of a printed update and of the probability flow."""
    x = x_start
    for step in grid.steps():
        score_scale = step.sigma_t / (step.alpha_t**2 * VARIANCE + step.sigma_t**2)
        eps = score_scale * (x - step.alpha_t * MEAN)
        keep, push = update(step.alpha_t, step.sigma_t, step.alpha_u, step.sigma_u)
        x = keep * x + push * eps
    deviation = np.sqrt(marginal_variance(grid, VARIANCE))
    scaled = (x_start - grid.alpha[0] * MEAN) / deviation[0]
    return abs(x - grid.alpha[-1] * MEAN - deviation[-1] * scaled)


def printed_ancestral_variance(grid: TimeGrid, variance: float) -> float:
    """[SCH] eqs. 79, 80, 83, 84: mean alpha_u x_0 alone, variance |1 - alpha_u**2 / alpha_t**2|."""
    found = marginal_variance(grid, variance)[0]
    for step in grid.steps():
        noised = step.alpha_t**2 * variance + step.sigma_t**2
        gain = step.alpha_u * step.alpha_t * variance / noised
        found = gain**2 * found + abs(1 - (step.alpha_u / step.alpha_t) ** 2)
    return float(found)


def undrifted_variance(grid: TimeGrid, variance: float) -> float:
    """[SCH] eq. 69, Prop. 9.1: x_u = (x_t + delta noise) / a_tu, without the score's drift."""
    found = marginal_variance(grid, variance)[0]
    for step in grid.steps():
        squared = (step.alpha_t / step.alpha_u) ** 2
        found = (found + 1 - squared) / squared
    return float(found)


def kl_of_drift(variance: float) -> float:
    """Exact KL / h**2 after N(0, V) moved by w = 0.7 z for a short time h."""
    moved = (1 + DRIFT_TIME * DRIFT_SLOPE) ** 2 * variance
    excess = moved / variance - 1
    return (excess - math.log1p(excess)) / 2 / DRIFT_TIME**2


def claims() -> list[Claim]:
    """Every claim, measured on scalar Gaussians; errors are at 20, 80 and 320 steps."""
    variances = (0.25, 1.0, 4.0)
    return [
        Claim("54", "DDIM is of order 1", _order("ddim"), "54 itself", _order("ddim")),
        Claim(
            "53",
            "its first line equals 54: endpoint error",
            _listed(printed_endpoint_error(printed_ddim, smooth_grid(n)) for n in STEP_COUNTS),
            "its last line alone",
            _listed(endpoint_error(SAMPLERS["ddim"], smooth_grid(n)) for n in STEP_COUNTS),
        ),
        Claim(
            "55",
            "Euler in the half log-SNR converges: endpoint error",
            _listed(printed_endpoint_error(printed_euler, smooth_grid(n)) for n in STEP_COUNTS),
            "sigma² in place of (47)",
            _listed(endpoint_error(SAMPLERS["euler_log_snr"], smooth_grid(n)) for n in STEP_COUNTS),
        ),
        Claim(
            "56, 61-66",
            "the two-step method is of order 2, on any grid",
            "order 0 (ERRATA L-7; not repeated here)",
            "DPM-Solver++ (2M) with the ratio r",
            f"{_order('dpmpp_2m')}, on alternating steps {_order('dpmpp_2m', alternating_grid)}",
        ),
        Claim(
            "57",
            "exponent of the local KL in h",
            "3 for the two-step method",
            "2p + 2 for order p",
            ", ".join(f"{name} {kl_exponent(name):.2f}" for name in ("ddim", "dpmpp_2m", "dpm_2m")),
        ),
        Claim(
            "35, 42",
            "KL / h² for a drift 0.7 z and V = 1/4, 1, 4",
            _listed(DRIFT_SLOPE**2 * variance / 2 for variance in variances),
            "E(div w + w grad log q)² / 2",
            _listed(kl_of_drift(variance) for variance in variances),
        ),
        Claim(
            "69",
            "a reverse step's mean needs no score: variance error, V = 1",
            _listed(relative_excess(undrifted_variance, n, 1.0) for n in STEP_COUNTS),
            "Tweedie's drift: ddpm_large",
            _listed(relative_excess(end_variance_of("ddpm_large"), n, 1.0) for n in STEP_COUNTS),
        ),
        Claim(
            "79-84",
            "DDPM keeps the marginals: variance error, V = 1/4",
            _listed(relative_excess(printed_ancestral_variance, n, 0.25) for n in STEP_COUNTS),
            "posterior mean; variance small, large",
            "; ".join(
                _listed(relative_excess(end_variance_of(name), n, 0.25) for n in STEP_COUNTS)
                for name in ("ddpm_small", "ddpm_large")
            ),
        ),
        Claim(
            "85",
            "DDPM is Euler ancestral: difference of their variance errors, V = 1/4",
            _listed(_apart("ddpm_large", n) for n in STEP_COUNTS),
            "with the small variance only",
            _listed(_apart("ddpm_small", n) for n in STEP_COUNTS),
        ),
    ]


def wide_grid(num_steps: int) -> TimeGrid:
    """Uniform in the half log-SNR from -4 to 4, as in ERRATA L-10."""
    return grid_at(np.linspace(-4, 4, num_steps + 1))


def relative_excess(
    variance_at_end: Callable[[TimeGrid, float], float],
    num_steps: int,
    variance: float,
    spacing: Callable[[int], TimeGrid] = wide_grid,
) -> float:
    """Relative error of the variance at the end of a grid, on N(0, V) data."""
    grid = spacing(num_steps)
    return variance_at_end(grid, variance) / marginal_variance(grid, variance)[-1] - 1


def kl_exponent(name: str) -> float:
    """Fitted exponent of a sampler's local KL in the length of its step."""
    found = [local_kl(SAMPLERS[name], KL_START, h, VARIANCE) for h in KL_LENGTHS]
    return fitted_exponent(KL_LENGTHS, np.array(found))


def end_variance_of(name: str) -> Callable[[TimeGrid, float], float]:
    """``end_variance`` of the sampler of that name."""
    return lambda grid, variance: end_variance(SAMPLERS[name], grid, variance)


def _apart(name: str, num_steps: int) -> float:
    grid = wide_grid(num_steps)
    ours, theirs = (
        end_variance(SAMPLERS[sampler], grid, 0.25) for sampler in (name, "euler_ancestral")
    )
    return abs(ours / theirs - 1)


def _order(name: str, spacing: Callable[[int], TimeGrid] = smooth_grid) -> str:
    coarse, fine = (endpoint_error(SAMPLERS[name], spacing(n)) for n in (320, 640))
    return f"order {math.log2(coarse / fine):.2f}"


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
