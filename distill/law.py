"""What the training will measure, before it is run: closed form and spread."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill.embedding import SQUARED_NORM
from distill.inputs import Inputs
from planner.plan import Plan
from planner.value import per_dimension_operator

Array = NDArray[np.float64]


def sgd_shrinkage(mean_squares: Array, lr: float, epochs: int) -> Array:
    """Share of the way to its target that a student leaves undone, elementwise.

        g = (1 - 2 lr |emb|**2 m)**epochs,  m = mean of x_start**2 over the batch

    Each gradient step on ``mean (a x - target x)**2`` multiplies ``a - target`` by that bracket
    (SPEC 5); with m = n_t it is the discrete form of [OM] eq. 17.
    """
    return (1.0 - 2.0 * lr * SQUARED_NORM * mean_squares) ** epochs


def largest_stable_lr(mean_squares: Array) -> float:
    """Learning rates below this one keep every bracket of ``sgd_shrinkage`` above -1."""
    return 1.0 / (SQUARED_NORM * float(np.max(mean_squares)))


def simulate_operators(
    plans: Sequence[Plan],
    operators: Array,
    inputs: Inputs,
    lr: float,
    epochs: int,
    num_runs: int,
    seed: int,
) -> Array:
    """Final operators of independent training runs, (num_runs, d), with no training.

    A run feels its batch of time t only through the mean square m_t. For Gaussian inputs m_t is
    exactly n_t chi2_B / B, the Gamma law of shape B / 2; for others the Gamma law with the mean
    and variance of theirs is close, m_t being a mean over a large batch.
    """
    shape = inputs.batch_size / inputs.relative_spreads[:, None, :]  # (T, 1, d)
    size = (len(operators), num_runs, operators.shape[1])
    draws = np.random.default_rng(seed).standard_gamma(shape, size) / shape
    shrinkage = sgd_shrinkage(inputs.second_moments[:, None, :] * draws, lr, epochs)
    return per_dimension_operator(plans, operators, shrinkage)
