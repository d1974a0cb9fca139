"""Gaussian data with a mean and a full covariance, in coordinates that are independent.

In the eigenbasis of the covariance every operator is diagonal ([OM] App. C). So plans for
variances are plans for eigenvalues.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COVARIANCE_ROUNDING = 1e-10
"""Tolerance for asymmetry and negative eigenvalues, relative to the largest entry."""


@dataclass(frozen=True, eq=False)
class Eigenbasis:
    """The Gaussian N(mean, basis @ diag(variances) @ basis.T)."""

    mean: Array
    """(d,)."""
    variances: Array
    """Eigenvalues of the covariance, rising, (d,)."""
    basis: Array
    """Eigenvectors as orthonormal columns, (d, d)."""


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
    slack = COVARIANCE_ROUNDING * np.abs(covariance).max()
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
