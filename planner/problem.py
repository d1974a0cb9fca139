"""The planning problem: the teacher's steps, the target of the students, and how far they train.

Two products of operators recur everywhere. The *composite* is the product of all teacher steps:
what the teacher itself does from noise to data. The *surrogate* is the target of [OM]: the
composite without those steps that contract (A_t < 1) where the variance is above 1. Students are
compared with the surrogate; ``diffusion.gaussian.surrogate_composite`` computes it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import NoiseSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """T teacher steps on d independent centred Gaussian coordinates; see ``make_problem``."""

    schedule: NoiseSchedule
    variances: Array
    """lam of the data, (d,)."""
    second_moments: Array
    """n_t, the variance of x_t, (T, d); row t - 1 belongs to t."""
    operators: Array
    """Teacher steps A_t, (T, d); row t - 1 belongs to t."""
    surrogate: Array
    """S, the target of the students, (d,)."""

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    @property
    def direction(self) -> Array:
        """-1.0 where a smaller operator is better, else +1.0, (d,); see ``better_direction``."""
        return better_direction(self.variances)

    def with_training(self, train_time: float, rates: Array | None = None) -> "MergeProblem":
        """The problem of planning merges that each train for ``train_time``.

        Args:
            rates: r_t of the shrinkages exp(-2 s r_t), (T, d). Without them r_t is n_t, the rate
                of gradient flow.

        Raises:
            ValueError: ``train_time`` is not a finite number above 0.
        """
        rates = self.second_moments if rates is None else rates
        return self.with_shrinkage(shrinkage_of(rates, train_time))

    def with_shrinkage(self, shrinkage: Array) -> "MergeProblem":
        """The problem of planning merges with these shrinkages g_t, (T, d)."""
        return MergeProblem(self.variances, self.operators, self.surrogate, shrinkage)


@dataclass(frozen=True, eq=False)
class MergeProblem:
    """What the planners need to know when every merge trains for a known time."""

    variances: Array
    """lam of the data, (d,)."""
    operators: Array
    """Teacher steps A_t, (T, d); row t - 1 belongs to t."""
    surrogate: Array
    """S, the target of the students, (d,)."""
    shrinkage: Array
    """g_t, (T, d): the share of the way to its target that a merge starting at t leaves undone."""

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    @property
    def direction(self) -> Array:
        """-1.0 where a smaller operator is better, else +1.0, (d,); see ``better_direction``."""
        return better_direction(self.variances)

    def select(self, columns: NDArray[np.intp] | NDArray[np.bool_]) -> "MergeProblem":
        """The same problem for some of the coordinates: their indices, or a mask (d,)."""
        return MergeProblem(
            self.variances[columns],
            self.operators[:, columns],
            self.surrogate[columns],
            self.shrinkage[:, columns],
        )


def make_problem(schedule: NoiseSchedule, variances: Array) -> Problem:
    """The problem of a noise schedule and data with these variances, (d,).

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
    """-1.0 where a smaller operator of a block is better, +1.0 where a larger one is, (d,).

    A block's operator lies at or above the product of its steps where lam <= 1, and at or below
    its part of the surrogate where lam > 1 (ERRATA P-3). So it errs to one known side only.
    """
    return np.where(variances <= 1, -1.0, 1.0)


def shrinkage_of(rates: Array, train_time: float) -> Array:
    """Share of the way to its target that a merge starting at t leaves undone, (T, d).

        g_t = exp(-2 s r_t)

    [OM] eq. 17, with s = ``train_time``. For gradient flow r_t = n_t, the variance of x_t.

    Args:
        rates: r_t, (T, d).

    Raises:
        ValueError: ``train_time`` is not a finite number above 0.
    """
    check_train_time(train_time)
    return np.exp(-2.0 * train_time * rates)


def check_train_time(train_time: float) -> None:
    """Refuse a training time that is not a finite number above 0.

    Raises:
        ValueError: with the time.
    """
    if not (np.isfinite(train_time) and train_time > 0):
        raise ValueError(f"train_time must be a finite number above 0, got {train_time}")
