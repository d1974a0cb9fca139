"""Gaussian data with a mean and a full covariance, taken to coordinates that do not mix.

In the eigenbasis of the covariance every operator is diagonal again ([OM] App. C), so all that is
planned for variances holds for eigenvalues.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-10  # of the largest entry, for symmetry and for eigenvalues below 0


@dataclass(frozen=True, eq=False)
class Eigenbasis:
    """N(mean, basis @ diag(variances) @ basis.T)."""

    mean: Array  # (d,)
    variances: Array  # eigenvalues, rising, (d,)
    basis: Array  # orthonormal columns, (d, d)


def eigenbasis(mean: Array, covariance: Array) -> Eigenbasis:
    """Diagonalise N(mean (d,), covariance (d, d)).

    Raises:
        ValueError: shapes do not fit, or the covariance is not finite, symmetric and positive
            semidefinite.
    """
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"mean and covariance must have shapes (d,) and (d, d), "
            f"got {mean.shape} and {covariance.shape}"
        )
    for name, array in (("mean", mean), ("covariance", covariance)):
        if not np.isfinite(array).all():
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(f"{name}{list(place)} is {array[place]}, must be finite")
    slack = ROUNDING * np.abs(covariance).max()
    skew = np.abs(covariance - covariance.T)
    if skew.max() > slack:
        i, j = np.unravel_index(np.argmax(skew), skew.shape)
        raise ValueError(
            f"covariance must be symmetric, but [{i}, {j}] is {covariance[i, j]} "
            f"and [{j}, {i}] is {covariance[j, i]}"
        )
    variances, basis = np.linalg.eigh(covariance)
    if variances[0] < -slack:
        raise ValueError(f"covariance has the negative eigenvalue {variances[0]}")
    return Eigenbasis(mean, np.maximum(variances, 0.0), basis)
