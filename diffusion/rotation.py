"""Orthonormal coordinates in which data are uncorrelated, or nearly so where there are many.

Operators are diagonal in the eigenbasis of the covariance ([OM] App. C), so correlated latents are
planned there and samples are rotated back. W2 does not change under a rotation.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Chunks = Callable[[], Iterable[Array]]
"""Gives all rows, some (n, d) at a time, at every call."""

RANK = 256
"""Principal directions that are resolved where the full eigenbasis would be too large."""
_SPARE = 32  # further directions that the search follows, so that all RANK directions are accurate
_PASSES = 3  # passes over the rows that find the directions


@dataclass(frozen=True, eq=False)
class Rotation:
    """Coordinates y = Q^T x. The first k columns of the orthogonal Q are ``basis``.

    For k < d the other columns are those that Householder's QR factorisation of ``basis`` gives;
    Q itself is never formed.
    """

    basis: NDArray[np.float32]
    """(d, k), orthonormal columns, k <= d."""

    def into(self, rows: Array) -> Array:
        """Rows x (n, d) in the coordinates y, (n, d)."""
        width, rank = self.basis.shape
        if rank == width:
            return rows @ self._exact
        found = self._reflect(rows, transpose=True)
        found[:, :rank] *= self._signs
        return found

    def back(self, rows: Array) -> Array:
        """Rows y (n, d) as x, (n, d): the inverse of ``into``."""
        width, rank = self.basis.shape
        if rank == width:
            return rows @ self._exact.T
        signed = rows.copy()
        signed[:, :rank] *= self._signs
        return self._reflect(signed, transpose=False)

    @cached_property
    def _exact(self) -> Array:
        return self.basis.astype(np.float64)

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor]:
        reflectors, scales = torch.geqrf(torch.from_numpy(self._exact))
        return reflectors, scales

    @property
    def _signs(self) -> Array:
        """Householder's columns are those of ``basis`` up to these signs, (k,)."""
        signs: Array = np.sign(self._factors[0].diagonal().numpy())
        return signs

    def _reflect(self, rows: Array, transpose: bool) -> Array:
        columns = torch.from_numpy(np.ascontiguousarray(rows.T))
        found: Array = torch.ormqr(*self._factors, columns, transpose=transpose).numpy()
        return np.ascontiguousarray(found.T)


def eigen_rotation(covariance: Array) -> tuple[Rotation, Array]:
    """The eigenbasis of a covariance (d, d), and its eigenvalues, (d,), largest first."""
    variances, basis = np.linalg.eigh(covariance)
    order = slice(None, None, -1)
    return Rotation(basis[:, order].astype(np.float32)), np.maximum(variances[order], 0.0)


def principal_rotation(chunks: Chunks, mean: Array, rank: int = RANK) -> tuple[Rotation, Array]:
    """Coordinates of which the first ``rank`` are principal, and the variances along all, (d,).

    The covariance is taken as low-rank plus diagonal: off its principal directions it counts as
    diagonal, in the coordinates that complete these directions. Randomised subspace iteration with
    ``_PASSES`` passes over the rows finds them, and one pass more measures the variances (Halko,
    Martinsson & Tropp 2011, SIAM Review 53, alg. 4.4). Memory is O(d rank).

    Args:
        mean: Mean of all rows, (d,).
    """
    width = len(mean)
    rank = min(rank, width)
    search = min(rank + _SPARE, width)
    basis = np.random.default_rng(0).standard_normal((width, search))
    for _ in range(_PASSES):
        basis, _ = np.linalg.qr(_times_covariance(chunks, mean, basis))
    small = basis.T @ _times_covariance(chunks, mean, basis)
    _, turn = np.linalg.eigh((small + small.T) / 2)
    leading = basis @ turn[:, ::-1][:, :rank]
    rotation = Rotation(leading.astype(np.float32))
    squares, count = np.zeros(width), 0
    for rows in chunks():
        squares += np.square(rotation.into(rows - mean)).sum(axis=0)
        count += len(rows)
    return rotation, squares / count


def _times_covariance(chunks: Chunks, mean: Array, columns: Array) -> Array:
    product, count = np.zeros_like(columns), 0
    for rows in chunks():
        centred = rows - mean
        product += centred.T @ (centred @ columns)
        count += len(rows)
    return product / count
