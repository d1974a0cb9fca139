"""Samplers: one update rule each, applied along an explicit time grid.

An update takes x_t to x_u, u < t, with the denoiser's estimate at t. The letters are those of
``diffusion.grid.Step``: alpha and sigma at t and u, h = l_u - l_t with l = log(alpha / sigma),
and q = sigma / alpha.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from diffusion.denoisers import Denoiser, Estimate
from diffusion.grid import Step, TimeGrid

Update = Callable[[Tensor, Step, Estimate, Estimate | None, Tensor | None], Tensor]
"""(x_t, step, estimate at t, estimate one step before, standard normal noise) -> x_u."""


def ddim(
    x_t: Tensor,
    step: Step,
    now: Estimate,
    before: Estimate | None,
    noise: Tensor | None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM. With ``eta`` = 1 it is DDPM with the small variance.

        x_u = alpha_u x_0 + sqrt(sigma_u**2 - c**2) eps + c noise,
        c**2 = eta**2 sigma_u**2 (1 - (q_u/q_t)**2)

    [SCH] eq. 54; Song, Meng & Ermon 2021 (arXiv:2010.02502), eqs. 12 and 16. With ``eta`` = 0 it
    is Euler's method in q, which diffusers calls EulerDiscrete.
    """
    if eta == 0:
        return step.alpha_u * now.x_0 + step.sigma_u * now.eps
    spread = eta * step.sigma_u * math.sqrt(1 - step.noise_ratio**2)
    kept = math.sqrt(step.sigma_u**2 - spread**2)
    return step.alpha_u * now.x_0 + kept * now.eps + spread * _given(noise)


def euler_log_snr(
    x_t: Tensor, step: Step, now: Estimate, before: Estimate | None, noise: Tensor | None
) -> Tensor:
    """Euler's method for the probability-flow ODE in l, the half log-SNR.

        dx/dl = sigma**2 x - sigma eps,  x_u = x_t + h (sigma_t**2 x_t - sigma_t eps)

    [SCH] eqs. 45 and 55 with (47) corrected to sigma**2 (ERRATA L-3, L-5).

    Raises:
        ValueError: the step starts at alpha = 0, where l = -inf.
    """
    if step.alpha_t == 0:
        raise ValueError(
            "euler_log_snr cannot start at alpha = 0, where the half log-SNR is -inf; take a "
            "grid that starts below pure noise: log_snr or karras spacing"
        )
    return x_t + step.h * (step.sigma_t**2 * x_t - step.sigma_t * now.eps)


def dpmpp_2m(
    x_t: Tensor, step: Step, now: Estimate, before: Estimate | None, noise: Tensor | None
) -> Tensor:
    """DPM-Solver++ (2M), midpoint; its first step is DDIM.

        x_u = (sigma_u / sigma_t) x_t - alpha_u (e**-h - 1) D,
        D = (1 + 1/(2r)) x_0 - 1/(2r) x_0_before,  r = h_before / h

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 2; ERRATA L-7 for [SCH] eqs. 61-66.
    """
    if before is None or step.h_before is None:
        return ddim(x_t, step, now, before, noise)
    slope = 0.5 * step.h / step.h_before
    gain = -step.alpha_u * math.expm1(-step.h)
    kept = step.sigma_u / step.sigma_t
    return kept * x_t + (gain * (1 + slope)) * now.x_0 - (gain * slope) * before.x_0


def dpm_2m(
    x_t: Tensor, step: Step, now: Estimate, before: Estimate | None, noise: Tensor | None
) -> Tensor:
    """DPM-Solver (2M) in noise form, midpoint; its first step is DDIM.

        x_u = (alpha_u / alpha_t) x_t - sigma_u (e**h - 1) [eps + (eps - eps_before) / (2r)]

    Lu et al. 2022 (arXiv:2206.00927) as a multistep method; ERRATA L-7 for [SCH] eqs. 61-66.
    """
    if before is None or step.h_before is None:
        return ddim(x_t, step, now, before, noise)
    slope = 0.5 * step.h / step.h_before
    gain = step.sigma_u * math.expm1(step.h)
    growth = step.alpha_u / step.alpha_t
    return growth * x_t - (gain * (1 + slope)) * now.eps + (gain * slope) * before.eps


def ddpm(
    x_t: Tensor,
    step: Step,
    now: Estimate,
    before: Estimate | None,
    noise: Tensor | None,
    large: bool,
) -> Tensor:
    """DDPM ancestral sampling with one of its two fixed variances.

        mean = (a_tu sigma_u**2 / sigma_t**2) x_t + (alpha_u s_tu**2 / sigma_t**2) x_0,
        a_tu = alpha_t / alpha_u,  s_tu**2 = sigma_t**2 - a_tu**2 sigma_u**2,
        variance = s_tu**2 (large) or s_tu**2 sigma_u**2 / sigma_t**2 (small)

    Ho, Jain & Abbeel 2020 (arXiv:2006.11239), eqs. 6 and 7; ERRATA L-10 for [SCH] eqs. 79-84.
    The large variance is exact for data of variance 1, the small one for data of variance 0.
    """
    renewed = 1 - step.noise_ratio**2  # s_tu**2 / sigma_t**2, without its cancellation
    kept = step.noise_ratio * step.sigma_u / step.sigma_t
    spread = (step.sigma_t if large else step.sigma_u) * math.sqrt(renewed)
    return kept * x_t + (step.alpha_u * renewed) * now.x_0 + spread * _given(noise)


def euler_ancestral(
    x_t: Tensor, step: Step, now: Estimate, before: Estimate | None, noise: Tensor | None
) -> Tensor:
    """Euler ancestral: Euler's method in q to below the noise level u, then noise up to u.

        q_up**2 = q_u**2 (q_t**2 - q_u**2) / q_t**2,  q_down**2 = q_u**2 - q_up**2,
        x_u = alpha_u (x_0 + q_down eps + q_up noise)

    This is k-diffusion's form for y = x / alpha, where y_t = x_0 + q_t eps. It is the same as DDPM
    with the small variance (ERRATA L-10 for [SCH] eq. 85).
    """
    down = step.sigma_u * step.noise_ratio
    up = step.sigma_u * math.sqrt(1 - step.noise_ratio**2)
    return step.alpha_u * now.x_0 + down * now.eps + up * _given(noise)


def _given(noise: Tensor | None) -> Tensor:
    if noise is None:
        raise TypeError("this sampler adds noise at every step: noise (N, B, d) must be given")
    return noise


DETERMINISTIC: dict[str, Update] = {
    "ddim": ddim,
    "euler_log_snr": euler_log_snr,
    "dpmpp_2m": dpmpp_2m,
    "dpm_2m": dpm_2m,
}
MARKOVIAN: dict[str, Update] = {
    "ddpm_small": partial(ddpm, large=False),
    "ddpm_large": partial(ddpm, large=True),
    "euler_ancestral": euler_ancestral,
}
SAMPLERS = DETERMINISTIC | MARKOVIAN


@torch.no_grad()
def walk(
    update: Update, denoise: Denoiser, grid: TimeGrid, x_start: Tensor, noise: Tensor | None
) -> Iterator[Tensor]:
    """The states x after each step along the grid, N of them, (B, d) each.

    A step to sigma = 0 returns the denoiser's x_0 with every sampler.

    Args:
        x_start: x at the grid's first level, (B, d).
        noise: Standard normal, (N, B, d), one row per step; only Markovian samplers need it.
    """
    x, before = x_start, None
    for k, step in enumerate(grid.steps()):
        now = denoise(x, step.alpha_t, step.sigma_t)
        if step.sigma_u == 0:
            x = now.x_0
        else:
            x = update(x, step, now, before, None if noise is None else noise[k])
        before = now
        yield x


def sample(
    update: Update,
    denoise: Denoiser,
    grid: TimeGrid,
    x_start: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """The state x at the end of the grid, (B, d).

    Args:
        x_start: x at the grid's first level, (B, d).
        noise: Standard normal, (N, B, d), one row per step; only Markovian samplers need it.
    """
    *_, x_end = walk(update, denoise, grid, x_start, noise)
    return x_end
