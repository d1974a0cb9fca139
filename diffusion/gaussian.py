"""Closed forms for Gaussian data: every DDIM step is a diagonal operator."""

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseLevels

Array = NDArray[np.float64]

LARGEST_VARIANCE = 1e30
"""Students are float32, whose squares end at 3e38. Some rows are far larger than the deviation."""


def check_variances(variances: Array) -> None:
    """Refuse variances that are not d >= 1 finite numbers from 0 to ``LARGEST_VARIANCE``.

    Raises:
        ValueError: with the first offending coordinate and its value.
    """
    if variances.ndim != 1 or len(variances) == 0:
        raise ValueError(f"variances must have shape (d,) with d >= 1, got {variances.shape}")
    offends = ~(np.isfinite(variances) & (variances >= 0))
    if offends.any():
        i = int(np.argmax(offends))
        raise ValueError(f"variance of coordinate {i} is {variances[i]}, must be finite and >= 0")
    if variances.max() > LARGEST_VARIANCE:
        i = int(np.argmax(variances))
        raise ValueError(
            f"variance of coordinate {i} is {variances[i]:g}, more than {LARGEST_VARIANCE:g}; "
            "divide the data by a number, so that variances are near 1"
        )


def noised_variances(schedule: NoiseLevels, variances: Array) -> Array:
    """Variance of x_t at t = 1..T, shape (T, d); row t - 1 belongs to t.

        n_t = alpha_t**2 lam + sigma_t**2 = |v_t|**2,  v_t = (alpha_t sqrt(lam), sigma_t)

    [OM] eq. 13.

    Args:
        variances: lam, (d,), of data with mean zero.

    Raises:
        ValueError: variances are not finite and >= 0.
    """
    check_variances(variances)
    alpha, sigma = schedule.alpha[1:, None], schedule.sigma[1:, None]
    return alpha**2 * variances + sigma**2


def ddim_operators(schedule: NoiseLevels, variances: Array) -> Array:
    """DDIM steps x_t -> x_{t-1} with the optimal denoiser, t = 1..T, shape (T, d).

        A_t = (alpha_{t-1} alpha_t lam + sigma_{t-1} sigma_t) / n_t

    [OM] eq. 14. Row t - 1 holds A_t.

    Args:
        variances: lam, (d,), of data with mean zero.

    Raises:
        ValueError: variances are not finite and >= 0.
    """
    noised = noised_variances(schedule, variances)
    alpha, sigma = schedule.alpha[:, None], schedule.sigma[:, None]
    signal = alpha[:-1] * alpha[1:] * variances
    noise = sigma[:-1] * sigma[1:]
    return (signal + noise) / noised


def surrogate_composite(operators: Array, variances: Array) -> Array:
    """The surrogate's operator: the steps' product without wrong contractions, (d,).

    In a coordinate whose variance exceeds 1, steps that contract it are left out:

        S = prod_t B_t,  B_t = 1 where lam > 1 and A_t < 1, else A_t

    [OM] Def. 4.1. The product of all A_t is the composite, what the teacher itself does.

    Args:
        operators: Teacher steps A_t, (T, d).
        variances: lam, (d,).
    """
    composite: Array = np.where((variances > 1) & (operators < 1), 1.0, operators).prod(axis=0)
    return composite
