"""Noise schedules: x_t = alpha_t x_0 + sigma_t eps on the grid t = 0 (clean), ..., T (noise).

All schedules are variance-preserving here, alpha_t**2 + sigma_t**2 = 1. Those of other kinds are
scaled by a c_t > 0, which changes neither the ratio sigma_t / alpha_t nor the path of DDIM:

    betas           alpha_t**2 = (1 - beta_1) ... (1 - beta_t),  t = 1..T      Ho et al. 2020, eq. 4
    alphas_cumprod  alpha_t = sqrt(alphas_cumprod_t)
    EDM sigmas      x = x_0 + s eps becomes x / sqrt(1 + s**2)
    flow matching   x = (1 - s) x_0 + s eps becomes x / sqrt((1 - s)**2 + s**2)

Every schedule begins with clean data, (alpha_0, sigma_0) = (1, 0), which betas and alphas_cumprod
leave out. At t = T some of these schedules keep a signal, alpha_T > 0. docs/theory.md says what
changes then; ``zero_terminal_snr`` removes the signal.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Prediction = Literal["eps", "x_0", "v"]
"""What a network predicts from x_t: eps, x_0, or v = alpha eps - sigma x_0."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class NoiseLevels:
    """Scales of neighbouring times, cleanest first; both arrays have shape (T + 1,).

    The constructor raises a ValueError that names the first offending t: values that are not
    finite, alpha that does not fall or sigma that does not rise with t, and ``alpha**2 + sigma**2
    != 1``.
    """

    alpha: Array
    sigma: Array
    name: str = ""
    """What the user calls the schedule; it decides nothing."""

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

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NoiseLevels)
            and np.array_equal(self.alpha, other.alpha)
            and np.array_equal(self.sigma, other.sigma)
        )

    def __hash__(self) -> int:
        return hash((self.alpha.tobytes(), self.sigma.tobytes()))

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.alpha) - 1

    def section(self, start: int, stop: int) -> "NoiseLevels":
        """The levels of the jump x_start -> x_stop; its times count from 0 at x_stop."""
        return NoiseLevels(self.alpha[stop : start + 1], self.sigma[stop : start + 1])


class TeacherSchedule(NoiseLevels):
    """Levels from clean data to where the teacher starts, indexed by t = 0, ..., T.

    Besides what ``NoiseLevels`` refuses, the constructor refuses a beginning that is not exactly
    clean data (1, 0). The end may keep a signal, alpha_T > 0.
    """

    def _refuse_ends(self) -> None:
        _refuse_end(self, 0, (1.0, 0.0))


class NoiseSchedule(TeacherSchedule):
    """Levels from clean data to pure noise, indexed by t = 0, ..., T.

    Besides what ``TeacherSchedule`` refuses, the constructor refuses an end that is not exactly
    pure noise (0, 1).
    """

    def _refuse_ends(self) -> None:
        super()._refuse_ends()
        _refuse_end(self, self.num_steps, (0.0, 1.0))


def _refuse_end(schedule: NoiseLevels, t: int, end: tuple[float, float]) -> None:
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    if (alpha, sigma) != end:
        mend = "; --zero-snr rescales the schedule so that it is" if t else ""
        raise ValueError(
            f"schedule at t = {t}: (alpha, sigma) = ({alpha}, {sigma}) must be exactly {end}{mend}"
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
    return NoiseSchedule(alpha, sigma, "cosine")


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
    return NoiseSchedule(alpha, sigma, "linear_beta")


SCALED_LINEAR_STEPS = 1_000
"""Training steps of the schedule scaled_linear."""


def scaled_linear_schedule() -> TeacherSchedule:
    """The training schedule of Stable Diffusion, T = 1000, alpha_T = 0.068.

        sqrt(beta_t) rises linearly from sqrt(0.00085) to sqrt(0.012),  t = 1..1000

    Rombach et al. 2022 (arXiv:2112.10752); scheduler_config.json of Stable Diffusion 1 and 2.
    """
    roots = np.linspace(0.00085**0.5, 0.012**0.5, SCALED_LINEAR_STEPS)
    return replace(from_betas(roots**2), name="scaled_linear")


KARRAS_RHO = 7.0
EDM_SIGMAS = (80.0, 0.002)
"""Largest sigma of EDM, and the smallest above 0."""


def karras_roots(num_levels: int, largest: float, smallest: float) -> Array:
    """sigma**(1/7) of ``num_levels`` levels of Karras' spacing, falling.

        sigma_i = (largest**(1/7) + i/(N-1) (smallest**(1/7) - largest**(1/7)))**7

    Karras et al. 2022 (arXiv:2206.00364), eq. 5.
    """
    return np.linspace(largest ** (1 / KARRAS_RHO), smallest ** (1 / KARRAS_RHO), num_levels)


def edm_schedule(num_steps: int) -> TeacherSchedule:
    """EDM's T = ``num_steps`` sigmas of Karras' spacing from 80 to 0.002; alpha_T = 0.0125.

    Karras et al. 2022 (arXiv:2206.00364), eq. 5 and Table 1.

    Raises:
        ValueError: ``num_steps`` is below 1, or so large that neighbouring sigmas round to one.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    sigmas = karras_roots(num_steps, *EDM_SIGMAS) ** KARRAS_RHO
    return replace(from_sigmas(sigmas), name="edm")


def flow_schedule(num_steps: int) -> NoiseSchedule:
    """Flow matching with T = ``num_steps`` uniform steps, scaled to preserve variance.

        x_t ~ (1 - s) x_0 + s eps,  s = t/T

    Lipman et al. 2023 (arXiv:2210.02747), eq. 22 with sigma_min = 0, whose t is our 1 - s; also
    called rectified flow. The scale is 1 at both ends.

    Raises:
        ValueError: ``num_steps`` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    share = np.linspace(0.0, 1.0, num_steps + 1)
    length = np.hypot(1 - share, share)
    return NoiseSchedule((1 - share) / length, share / length, "flow")


def from_betas(betas: Array) -> TeacherSchedule:
    """The schedule of the betas of t = 1..T, (T,).

        alpha_t**2 = (1 - beta_1) ... (1 - beta_t)

    Raises:
        ValueError: a beta is not between 0 and 1; the last one may be 1.
    """
    _refuse_bad("betas", betas, (betas > 0) & (betas < 1), "must be above 0 and below 1", 1.0)
    alphas_cumprod = np.cumprod(1 - betas, dtype=np.float64)
    return from_alphas_cumprod(alphas_cumprod)


def from_alphas_cumprod(alphas_cumprod: Array) -> TeacherSchedule:
    """The schedule of alpha_t**2 at t = 1..T, (T,), or at t = 0..T if it begins with exactly 1.

    Raises:
        ValueError: the numbers do not fall, or one is not between 0 and 1; the last one may be 0.
    """
    if alphas_cumprod.ndim == 1 and len(alphas_cumprod) > 1 and alphas_cumprod[0] == 1:
        alphas_cumprod = alphas_cumprod[1:]
    inside = (alphas_cumprod > 0) & (alphas_cumprod < 1)
    _refuse_bad("alphas_cumprod", alphas_cumprod, inside, "must be above 0 and below 1", 0.0)
    falls = np.diff(alphas_cumprod, prepend=1.0) < 0
    _refuse_bad("alphas_cumprod", alphas_cumprod, falls, "must be below the one before")
    squares = np.append(1.0, alphas_cumprod)
    return TeacherSchedule(np.sqrt(squares), np.sqrt(1 - squares))


def from_sigmas(sigmas: Array) -> TeacherSchedule:
    """The schedule of EDM's sigmas, x = x_0 + s eps, rising or falling, with or without the 0.

        alpha_t = 1 / sqrt(1 + s**2),  sigma_t = s / sqrt(1 + s**2)

    Args:
        sigmas: s > 0 of t = 1..T in either order, (T,), or with the 0 of t = 0, (T + 1,).

    Raises:
        ValueError: the numbers neither rise nor fall, or one is not finite and at least 0.
    """
    usable = np.isfinite(sigmas) & (sigmas >= 0)
    _refuse_bad("sigmas", sigmas, usable, "must be a finite number of at least 0")
    rising = sigmas[::-1] if sigmas[0] > sigmas[-1] else sigmas
    if rising[0] > 0:
        rising = np.append(0.0, rising)
    if len(rising) < 2:
        raise ValueError("sigmas must have a number above 0")
    if (np.diff(rising) <= 0).any():
        raise ValueError("sigmas must rise from each to the next, or fall from each to the next")
    length = np.hypot(1.0, rising)
    return TeacherSchedule(1 / length, rising / length)


def _refuse_bad(
    name: str,
    values: Array,
    holds: NDArray[np.bool_],
    what: str,
    last: float | None = None,
) -> None:
    """Refuse an array that is not 1-D and non-empty, or whose values do not all hold.

    Args:
        last: Value that the last element may have besides.
    """
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name} must be one row of numbers, got shape {values.shape}")
    offends = ~holds
    offends[-1] &= values[-1] != last
    if offends.any():
        i = int(np.argmax(offends))
        raise ValueError(f"{name}[{i}] is {values[i]}, {what}")


def zero_terminal_snr(schedule: TeacherSchedule) -> NoiseSchedule:
    """The schedule rescaled so that it ends in pure noise; alpha_0 and alpha_1 stay.

        alpha'_t = (alpha_t - alpha_T) alpha_1 / (alpha_1 - alpha_T),  t = 1..T

    Lin et al. 2024 (arXiv:2305.08891), Algorithm 1. A schedule that ends in pure noise is returned
    as it is. With T = 1 there is only pure noise.
    """
    if schedule.alpha[-1] == 0:
        return NoiseSchedule(schedule.alpha, schedule.sigma, schedule.name)
    first, last = schedule.alpha[1], schedule.alpha[-1]
    alpha = schedule.alpha.copy()
    if schedule.num_steps > 1:
        alpha[1:] = (alpha[1:] - last) * (first / (first - last))
    alpha[-1] = 0.0
    sigma = np.sqrt((1 - alpha) * (1 + alpha))
    return NoiseSchedule(alpha, sigma, f"{schedule.name} zero_snr".strip())


def subsampled(schedule: TeacherSchedule, num_steps: int) -> TeacherSchedule:
    """T = ``num_steps`` of the S steps of a training schedule, both ends among them.

        t'_k = round(k S / T),  k = 0..T

    The rule that diffusers calls ``timestep_spacing="trailing"``.

    Raises:
        ValueError: ``num_steps`` is not from 1 to S.
    """
    if not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"num_steps must be from 1 to the schedule's {schedule.num_steps}, got {num_steps}"
        )
    # From S down to 0: this order decides how halves are rounded.
    t = np.linspace(schedule.num_steps, 0, num_steps + 1).round().astype(np.int64)[::-1]
    return replace(schedule, alpha=schedule.alpha[t], sigma=schedule.sigma[t])
