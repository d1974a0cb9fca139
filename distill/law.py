"""What the training will measure, before it is run: closed form and spread."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill.embedding import SQUARED_NORM
from distill.inputs import Inputs
from planner.plan import Plan
from planner.value import per_dimension_operator

Array = NDArray[np.float64]


def sgd_shrinkage(mean_squares: Array, lr: float, epochs: int | NDArray[np.int64]) -> Array:
    """Share of the way to its target that a student leaves undone, elementwise.

        g = (1 - 2 lr |emb|**2 m)**epochs,  m = mean of x_start**2 over the batch

    Each gradient step on ``mean (a x - target x)**2`` multiplies ``a - target`` by that bracket
    (SPEC 5); with m = n_t it is the discrete form of [OM] eq. 17. ``epochs`` may be one number, or
    one a coordinate, (d,).
    """
    return (1.0 - 2.0 * lr * SQUARED_NORM * mean_squares) ** epochs


def decay_rates(second_moments: Array, lr: float) -> Array:
    """Rates r_t at which gradient flow would shrink a gap as gradient descent does, (T, d).

        exp(-2 s r) = |1 - 2 lr |emb|**2 n|**epochs,  s = lr |emb|**2 epochs

    r is n_t for small ``lr``. The planner, which thinks in exp(-2 s r), so plans for the very
    steps that are taken; where a bracket is negative, for its size.
    """
    brackets = np.abs(1.0 - 2.0 * lr * SQUARED_NORM * second_moments)
    return -np.log(np.maximum(brackets, np.finfo(float).tiny)) / (2.0 * lr * SQUARED_NORM)


def train_time(lr: float, epochs: int) -> float:
    """The time s of gradient flow that so many gradient steps stand for ([OM] eq. 17)."""
    return lr * SQUARED_NORM * epochs


def largest_stable_lr(mean_squares: Array) -> float:
    """Learning rates below this one keep every bracket of ``sgd_shrinkage`` above -1."""
    return 1.0 / (SQUARED_NORM * float(np.max(mean_squares)))


def refuse_unstable(lr: float, second_moments: Array, variances: Array) -> None:
    """Refuse a learning rate whose gradient steps grow: 2 lr |emb|**2 n >= 2 somewhere.

    Args:
        second_moments: n_t, (T, d).
        variances: (d,), to name the coordinate by.

    Raises:
        ValueError: with the variance, the limit and the learning rates that work.
    """
    largest = largest_stable_lr(second_moments)
    if lr >= largest:
        i = int(np.argmax(second_moments.max(axis=0)))
        raise ValueError(
            f"--lr {lr} is unstable for coordinate {i} with variance {variances[i]:.6g}; below "
            f"{largest:.6g} it is stable (the second moment of its inputs reaches "
            f"{second_moments[:, i].max():.6g}, the limit at this rate is "
            f"{1.0 / (SQUARED_NORM * lr):.6g})"
        )


def independent_mean_squares(
    second_moments: Array, shapes: Array, num_runs: int, generator: np.random.Generator
) -> Array:
    """Mean squares m_t of independent batches, one a time and run, (T, num_runs, d).

    For Gaussian inputs m_t is exactly n_t chi2_B / B, the Gamma law of shape B / 2; for others
    the Gamma law with the mean and variance of theirs is close, m_t being a mean over a large
    batch.

    Args:
        second_moments: n_t, (T, d).
        shapes: Shape of the Gamma law, B n_t**2 / Var(x_t**2), (T, d).
    """
    num_steps, width = second_moments.shape
    shapes = shapes[:, None, :]
    draws = generator.standard_gamma(shapes, (num_steps, num_runs, width)) / shapes
    return second_moments[:, None, :] * draws


def simulate_operators(
    plans: Sequence[Plan],
    operators: Array,
    inputs: Inputs,
    lr: float,
    epochs: int | NDArray[np.int64],
    num_runs: int,
    seed: int,
) -> Array:
    """Final operators of independent training runs, (num_runs, d), with no training.

    A run feels its batch of time t only through the mean square m_t.
    """
    shapes = inputs.batch_size / inputs.relative_spreads
    generator = np.random.default_rng(seed)
    mean_squares = independent_mean_squares(inputs.second_moments, shapes, num_runs, generator)
    return per_dimension_operator(plans, operators, sgd_shrinkage(mean_squares, lr, epochs))
