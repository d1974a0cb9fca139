"""The planning problem: teacher steps, what students aim at, and what a merge leaves undone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import NoiseSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """T teacher steps on d independent centred Gaussian coordinates; made by ``pose``."""

    schedule: NoiseSchedule
    variances: Array  # lam, (d,)
    second_moments: Array  # n_t of x_t, (T, d); row t - 1 belongs to t
    operators: Array  # A_t, (T, d)
    surrogate: Array  # S, (d,)

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    @property
    def direction(self) -> Array:
        """Which way a value is better, (d,); see ``better_direction``."""
        return better_direction(self.variances)

    def with_training(self, train_time: float, rates: Array | None = None) -> "MergeProblem":
        """The problem of training every merge for ``train_time``.

        Args:
            rates: r_t of shrinkages exp(-2 s r_t), (T, d); without them n_t, those of gradient
                flow.
        """
        rates = self.second_moments if rates is None else rates
        return MergeProblem(**(vars(self) | {"shrinkage": shrinkage_of(rates, train_time)}))


@dataclass(frozen=True, eq=False)
class MergeProblem(Problem):
    """A problem whose merges train for a known time; made by ``Problem.with_training``."""

    shrinkage: Array  # g_t of a merge that starts at t, (T, d)


def make_problem(schedule: NoiseSchedule, variances: Array) -> Problem:
    """The problem of data with these variances, (d,).

    Raises:
        ValueError: variances are not finite and >= 0.
    """
    operators = ddim_operators(schedule, variances)
    return Problem(
        schedule=schedule,
        variances=variances,
        second_moments=noised_variances(schedule, variances),
        operators=operators,
        surrogate=surrogate_composite(operators, variances),
    )


def better_direction(variances: Array) -> Array:
    """-1.0 where a smaller value of a block is better, +1.0 where a larger one is, (d,).

    Every block value lies at or above the product of its steps where lam <= 1, and at or below
    the surrogate's where lam > 1 (ERRATA P-3), so it can only err to one side.
    """
    return np.where(variances <= 1, -1.0, 1.0)


def shrinkage_of(rates: Array, train_time: float) -> Array:
    """Share of the way to its target that a merge starting at t leaves undone, (T, d).

        g_t = exp(-2 s r_t)

    [OM] eq. 17, with s = ``train_time`` and, for gradient flow, r_t = n_t, the variance of x_t.

    Raises:
        ValueError: ``train_time`` is not a finite number above 0.
    """
    check_train_time(train_time)
    return np.exp(-2.0 * train_time * rates)


def check_train_time(train_time: float) -> None:
    """Refuse a training time that is not a finite number above 0."""
    if not (np.isfinite(train_time) and train_time > 0):
        raise ValueError(f"train_time must be a finite number above 0, got {train_time}")
