"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps on the grid t = 0 (clean), ..., T (noise)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiment.read import numbers, read_json, reading

Prediction = Literal["eps", "x_0", "v"]
"""What a network predicts from x_t: eps, x_0, or v = alpha eps - sigma x_0."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class NoiseLevels:
    """Scales of neighbouring times, cleanest first; both arrays have shape (T + 1,).

    The constructor raises a ValueError that names the first offending t: values that are not
    finite, alpha that does not fall or sigma that does not rise with t, and ``alpha**2 + sigma**2
    != 1``.
    """

    alpha: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __post_init__(self) -> None:
        alpha, sigma = self.alpha, self.sigma
        if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 2:
            raise ValueError(
                f"alpha and sigma must both have shape (T + 1,) with T >= 1, "
                f"got {alpha.shape} and {sigma.shape}"
            )
        _refuse_first(~(np.isfinite(alpha) & np.isfinite(sigma)), self, "is not finite")
        _refuse_first(np.diff(alpha, prepend=np.inf) >= 0, self, "does not lower alpha")
        _refuse_first(np.diff(sigma, prepend=-np.inf) <= 0, self, "does not raise sigma")
        self._refuse_ends()
        # A schedule lies between its ends, so none of its values is too large to be squared.
        off_circle = np.abs(alpha**2 + sigma**2 - 1.0) > 1e-9
        _refuse_first(off_circle, self, "breaks alpha**2 + sigma**2 = 1")

    def _refuse_ends(self) -> None:
        """Levels may begin and end anywhere."""

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.alpha) - 1

    def section(self, start: int, stop: int) -> "NoiseLevels":
        """The levels of the jump x_start -> x_stop; its times count from 0 at x_stop."""
        return NoiseLevels(self.alpha[stop : start + 1], self.sigma[stop : start + 1])


class NoiseSchedule(NoiseLevels):
    """Levels from clean data to pure noise, indexed by t = 0, ..., T.

    Besides what ``NoiseLevels`` refuses, the constructor refuses ends that are not exactly clean
    data (1, 0) at t = 0 and pure noise (0, 1) at t = T.
    """

    def _refuse_ends(self) -> None:
        for t, ends in ((0, (1.0, 0.0)), (self.num_steps, (0.0, 1.0))):
            if (self.alpha[t], self.sigma[t]) != ends:
                raise ValueError(
                    f"schedule at t = {t}: (alpha, sigma) = ({self.alpha[t]}, {self.sigma[t]}) "
                    f"must be exactly {ends}"
                )


def _refuse_first(offends: NDArray[np.bool_], schedule: NoiseLevels, what: str) -> None:
    if offends.any():
        t = int(np.argmax(offends))
        raise ValueError(
            f"schedule at t = {t}: (alpha, sigma) = ({schedule.alpha[t]}, {schedule.sigma[t]}) "
            f"{what}"
        )


def cosine_schedule(num_steps: int) -> NoiseSchedule:
    """Variance-preserving cosine schedule with T = ``num_steps`` uniform steps ([OM] 5.1).

        alpha_t = cos(pi/2 * t/T),  sigma_t = sin(pi/2 * t/T)

    Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17, whose alpha_bar is our alpha**2. Their
    offset s is 0 here: x_0 is exactly clean and x_T is pure noise.

    Raises:
        ValueError: ``num_steps`` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    angle = np.linspace(0.0, np.pi / 2, num_steps + 1)
    alpha, sigma = np.cos(angle), np.sin(angle)
    alpha[-1] = 0.0  # cos(pi/2) is 6e-17 in floating point
    return NoiseSchedule(alpha=alpha, sigma=sigma)


def linear_beta_schedule(num_steps: int) -> NoiseSchedule:
    """Variance-preserving schedule whose noise rate rises linearly, T = ``num_steps`` steps.

        alpha_t**2 = exp(-0.1 u - 19.9 u**2 / 2),  u = t/T

    Song et al. 2021 (arXiv:2011.13456), eq. 33 with beta_min = 0.1 and beta_max = 20. Their
    alpha_T = 0.0066 is 0 here: x_T is pure noise.

    Raises:
        ValueError: ``num_steps`` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    u = np.linspace(0.0, 1.0, num_steps + 1)
    log_signal = -0.1 * u - 9.95 * u**2
    alpha, sigma = np.exp(log_signal / 2), np.sqrt(-np.expm1(log_signal))
    alpha[-1], sigma[-1] = 0.0, 1.0
    return NoiseSchedule(alpha=alpha, sigma=sigma)


SCHEDULES = {"cosine": cosine_schedule, "linear_beta": linear_beta_schedule}


def find_schedule(name: str, num_steps: int) -> NoiseSchedule:
    """The schedule called ``name`` with T = ``num_steps``, or the one in the JSON file ``name``.

    Raises:
        FileNotFoundError: ``name`` is not in ``SCHEDULES``, and there is no such file.
        ValueError: the file holds no schedule.
    """
    if name in SCHEDULES:
        return SCHEDULES[name](num_steps)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"--schedule {path}: no such file, and none of {', '.join(SCHEDULES)}"
        )
    return read_schedule(path)


def read_schedule(path: Path) -> NoiseSchedule:
    """Schedule from a JSON file ``{"alpha": [...], "sigma": [...]}``, T + 1 numbers each.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it holds no schedule.
    """
    expected = 'expected {"alpha": [...], "sigma": [...]}, T + 1 numbers each'
    with reading(path, "a schedule", expected):
        found = read_json(path)
        return NoiseSchedule(alpha=numbers(found, "alpha"), sigma=numbers(found, "sigma"))
