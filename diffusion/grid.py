"""Time grids: the noise levels that a sampler visits, from noisy to clean, and their spacings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import KARRAS_RHO, TeacherSchedule, karras_roots, subsampled

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Step:
    """The step from noise level t down to noise level u, in plain floats.

    Write l = log(alpha / sigma), half the log-SNR, and q = sigma / alpha.
    """

    alpha_t: float
    sigma_t: float
    alpha_u: float
    sigma_u: float
    h: float
    """l_u - l_t; infinite from pure noise or to clean data."""
    h_before: float | None
    """h of the step before; None for the first step."""

    @property
    def noise_ratio(self) -> float:
        """q_u / q_t = e**-h; 0 from pure noise or to clean data, else between 0 and 1."""
        return self.sigma_u * self.alpha_t / (self.alpha_u * self.sigma_t)


@dataclass(frozen=True, eq=False)
class TimeGrid:
    """N steps between the N + 1 noise levels (alpha[k], sigma[k]), noisiest first.

    The constructor raises a ValueError that names the first offending point: values that are not
    finite, sigma that does not fall or alpha that does not rise, and ``alpha**2 + sigma**2 != 1``.
    The first point may be pure noise (0, 1), and the last one clean data (1, 0).
    """

    alpha: Array
    """Signal scales, rising, (N + 1,)."""
    sigma: Array
    """Noise scales, falling, (N + 1,)."""

    def __post_init__(self) -> None:
        alpha, sigma = self.alpha, self.sigma
        if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 2:
            raise ValueError(
                f"alpha and sigma must both have shape (N + 1,) with N >= 1 steps, "
                f"got {alpha.shape} and {sigma.shape}"
            )
        finite = np.isfinite(alpha) & np.isfinite(sigma)
        on_circle = np.abs(alpha**2 + sigma**2 - 1.0) <= 1e-9
        falls = (np.diff(alpha, prepend=-1.0) > 0) & (np.diff(sigma, prepend=2.0) < 0)
        for holds, what in (
            (finite, "is not finite"),
            (
                falls & (alpha >= 0) & (sigma >= 0),
                "does not lower the noise; order from noisy to clean, each level once",
            ),
            (on_circle, "breaks alpha**2 + sigma**2 = 1"),
        ):
            if not holds.all():
                k = int(np.argmin(holds))
                raise ValueError(
                    f"grid point {k}: (alpha, sigma) = ({alpha[k]}, {sigma[k]}) {what}"
                )

    @property
    def num_steps(self) -> int:
        """N, the number of steps and of denoiser calls."""
        return len(self.alpha) - 1

    @property
    def half_log_snr(self) -> Array:
        """l = log(alpha / sigma), (N + 1,), rising; -inf at pure noise, inf at clean data."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha) - np.log(self.sigma)

    def steps(self) -> list[Step]:
        """The N steps, noisiest first."""
        alpha, sigma = self.alpha.tolist(), self.sigma.tolist()
        h = np.diff(self.half_log_snr).tolist()
        levels = zip(alpha, sigma, alpha[1:], sigma[1:], h, [None, *h], strict=False)
        return [Step(*level) for level in levels]


def grid_at(half_log_snr: Array) -> TimeGrid:
    """The grid at given l = log(alpha / sigma).

        alpha = 1 / sqrt(1 + e**(-2 l)),  sigma = 1 / sqrt(1 + e**(2 l))

    Args:
        half_log_snr: l, (N + 1,), rising; inf is clean data.

    Raises:
        ValueError: l does not rise.
    """
    with np.errstate(over="ignore"):
        return TimeGrid(
            alpha=1 / np.sqrt(1 + np.exp(-2 * half_log_snr)),
            sigma=1 / np.sqrt(1 + np.exp(2 * half_log_snr)),
        )


def uniform_t_grid(schedule: TeacherSchedule, num_steps: int) -> TimeGrid:
    """From x_T to clean data in ``num_steps`` steps of equal length in t.

    The points are rounded to whole t, so that all of them belong to the schedule.

    Raises:
        ValueError: ``num_steps`` is not from 1 to T.
    """
    found = subsampled(schedule, num_steps)
    return TimeGrid(alpha=np.flip(found.alpha).copy(), sigma=np.flip(found.sigma).copy())


def fine_grid(schedule: TeacherSchedule, num_steps: int) -> TimeGrid:
    """From x_T to clean data, with ``num_steps`` levels of equal distance in l in between.

    The first and the last of these levels are the noisiest and the cleanest of the schedule with
    finite l. So the grid has the ends of the schedule, and follows its flow closely.

    Raises:
        ValueError: the schedule has no two such levels.
    """
    inner = (schedule.alpha > 0) & (schedule.sigma > 0)
    if inner.sum() < 2:
        raise ValueError(f"a schedule of {schedule.num_steps} steps is too coarse for its flow")
    levels = np.log(schedule.alpha[inner]) - np.log(schedule.sigma[inner])  # falling with t
    inside = np.linspace(levels[-1], levels[0], num_steps)
    pure_noise = [-np.inf] if schedule.alpha[-1] == 0 else []
    return grid_at(np.array([*pure_noise, *inside, np.inf]))


def uniform_log_snr_grid(num_steps: int, q_max: float, q_min: float) -> TimeGrid:
    """``num_steps`` levels of equal distance in l = -log q from q_max to q_min, then clean data.

    Args:
        q_max, q_min: Largest and smallest sigma / alpha above 0.

    Raises:
        ValueError: ``num_steps`` is below 1, or not ``q_max > q_min > 0``.
    """
    _check_range(num_steps, q_max, q_min)
    levels = np.linspace(-np.log(q_max), -np.log(q_min), num_steps)
    return grid_at(np.append(levels, np.inf))


def karras_grid(num_steps: int, q_max: float, q_min: float) -> TimeGrid:
    """``num_steps`` levels of Karras' spacing from q_max to q_min, then clean data.

    See ``karras_roots``, whose sigma is our q = sigma / alpha.

    Raises:
        ValueError: ``num_steps`` is below 1, or not ``q_max > q_min > 0``.
    """
    _check_range(num_steps, q_max, q_min)
    roots = karras_roots(num_steps, q_max, q_min)
    return grid_at(np.append(-KARRAS_RHO * np.log(roots), np.inf))


def _check_range(num_steps: int, q_max: float, q_min: float) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if not np.inf > q_max > q_min > 0:
        raise ValueError(
            f"sigma / alpha must fall from q_max to q_min > 0, got q_max {q_max} and q_min {q_min}"
        )
