"""The coordinates in which latents are planned: their own, or those that make them uncorrelated.

Operators are diagonal in the eigenbasis of the covariance ([OM] App. C), so correlated latents are
planned there and samples are rotated back. W2 does not change under a rotation. Where the full
eigenbasis would be too large, its principal directions are taken, and the covariance counts as
diagonal beyond them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.gaussianity import (
    MOST_OFF_DIAGONAL,
    Gaussianity,
    non_normal_share,
    off_diagonal_share,
    off_diagonal_share_of_rows,
)
from distill.config import Rotate
from experiment.read import reading
from experiment.tensors import checked_tensor, metadata_value, read_tensors, write_tensors
from vae.latents import Latents, row_chunks

Array = NDArray[np.float64]
Chunks = Callable[[], Iterable[Array]]
"""Gives all rows, some (n, d) at a time, at every call."""

RANK = 256
"""Principal directions that are resolved where the full eigenbasis would be too large."""
_SPARE = 32  # further directions that the search follows, so that all RANK directions are accurate
_PASSES = 3  # passes over the rows that find the directions
ROTATION_KIND = "mergelab rotation, format 1"
_SAMPLED_NUMBERS = 2**24  # numbers from which the shape of the codes' distribution is taken
_SAMPLED_ROWS = 4096


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


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What planning works with: variances, how they come from the latents, and what is left out."""

    mean: Array
    """Mean of the latents before rotation, (d,)."""
    variances: Array
    """Variances along the planned coordinates, (d,)."""
    rotation: Rotation | None
    """None: the latents' own coordinates."""
    gaussianity: Gaussianity


def choose_coordinates(
    latents: Latents,
    rotate: Rotate,
    log: Callable[[str], object] = lambda line: None,
    kept: tuple[Path, str] | None = None,
) -> Coordinates:
    """Take the latents' own coordinates, or rotate them into uncorrelated ones.

    The full eigenbasis is taken where the covariance is known, else ``RANK`` principal directions,
    beyond which the covariance is taken as diagonal.

    Args:
        rotate: auto rotates if the energy off the diagonal exceeds ``MOST_OFF_DIAGONAL``.
        log: Called with one line where a rotation takes time.
        kept: File of an earlier ``save_rotation``, and the fingerprint of these latents: it is
            taken if it has the same.

    Raises:
        ValueError, OSError: the kept file is damaged, or cannot be read.
    """
    mean, variances = latents.mean.numpy(), latents.variances.numpy()
    rows = _sample(latents, mean)
    off_diagonal = _off_diagonal(latents, rows)
    rotation, rank, left = None, None, off_diagonal
    if rotate == "on" or (rotate == "auto" and off_diagonal > MOST_OFF_DIAGONAL):
        found = None if kept is None else _kept(*kept, len(mean))
        if found is None:
            log(_announce(latents, off_diagonal))
            found = _rotation(latents, mean)
        rotation, variances = found
        rank, left = rotation.basis.shape[1], 0.0
        if rank < len(mean) and rows is not None:
            left = off_diagonal_share_of_rows(rows, variances)
    shape = None
    if rows is not None:
        shape = non_normal_share(rows if rotation is None else rotation.into(rows))
    gaussianity = Gaussianity(
        count=latents.count,
        width=len(mean),
        off_diagonal=off_diagonal,
        rank=rank,
        left=left,
        constant=int((variances <= 1e-12 * variances.max()).sum()),
        non_normal=shape,
    )
    return Coordinates(mean, variances, rotation, gaussianity)


def centred_rows(latents: Latents, rotation: Rotation | None) -> Tensor:
    """The codes minus their mean in the planned coordinates, (N, d) float32."""
    assert latents.codes is not None
    mean = latents.mean.numpy()
    centred = torch.empty(latents.codes.shape)
    done = 0
    for rows in row_chunks(latents.codes):
        moved = rows - mean
        moved = moved if rotation is None else rotation.into(moved)
        centred[done : done + len(rows)] = torch.from_numpy(moved)
        done += len(rows)
    return centred


def _sample(latents: Latents, mean: Array) -> Array | None:
    """Some centred rows, evenly spaced over all, (n, d); None where only moments are kept."""
    if latents.codes is None:
        return None
    count, width = latents.codes.shape
    most = min(count, _SAMPLED_ROWS, max(64, _SAMPLED_NUMBERS // width))
    chosen = torch.from_numpy(np.linspace(0, count - 1, most).astype(np.int64))
    rows: Array = latents.codes[chosen].double().numpy() - mean
    return rows


def _off_diagonal(latents: Latents, rows: Array | None) -> float:
    if latents.covariance is not None:
        return off_diagonal_share(latents.covariance.numpy(), latents.count)
    assert rows is not None  # the covariance is left out for codes only
    return off_diagonal_share_of_rows(rows, latents.variances.numpy())


def _announce(latents: Latents, off_diagonal: float) -> str:
    width = len(latents.mean)
    how = (
        f"the eigenbasis of all {width:,} coordinates"
        if latents.covariance is not None
        else f"{RANK} principal directions and a diagonal, {8e-9 * width * RANK:.2g} GB"
    )
    return f"{off_diagonal:.1%} of the covariance's energy is off its diagonal: rotating into {how}"


def _rotation(latents: Latents, mean: Array) -> tuple[Rotation, Array]:
    if latents.covariance is not None:
        return eigen_rotation(latents.covariance.numpy())
    assert latents.codes is not None
    return principal_rotation(partial(row_chunks, latents.codes), mean, RANK)


def eigen_rotation(covariance: Array) -> tuple[Rotation, Array]:
    """The eigenbasis of a covariance (d, d), and its eigenvalues, (d,), largest first."""
    variances, basis = np.linalg.eigh(covariance)
    order = slice(None, None, -1)
    return Rotation(basis[:, order].astype(np.float32)), np.maximum(variances[order], 0.0)


def principal_rotation(chunks: Chunks, mean: Array, rank: int) -> tuple[Rotation, Array]:
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


def save_rotation(path: Path, coordinates: Coordinates, fingerprint: str) -> None:
    """Write the basis, the mean and the variances, whole or not at all.

    Args:
        fingerprint: Fingerprint of the file of latents.
    """
    assert coordinates.rotation is not None
    tensors = {
        "basis": torch.from_numpy(coordinates.rotation.basis),
        "mean": torch.from_numpy(coordinates.mean),
        "variances": torch.from_numpy(np.ascontiguousarray(coordinates.variances)),
    }
    write_tensors(path, tensors, {"kind": ROTATION_KIND, "latents": fingerprint})


def load_rotation(path: Path, width: int) -> tuple[Rotation, Array, str]:
    """Rotation, variances (d,), and the fingerprint of the latents that they are of.

    Args:
        width: d, which the rotation must have.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable or damaged.
    """
    hint = "remove it and run again"
    tensors, metadata = read_tensors(path, ROTATION_KIND, hint)
    with reading(path, "a whole rotation", hint):
        basis = checked_tensor(tensors, "basis", torch.float32, (width, None))
        variances = checked_tensor(tensors, "variances", torch.float64, (width,))
        if (variances < 0).any() or not 1 <= basis.shape[1] <= width:
            raise ValueError("variances must be at least 0, and directions at most coordinates")
        return Rotation(basis.numpy()), variances.numpy(), metadata_value(metadata, "latents")


def _kept(path: Path, fingerprint: str, width: int) -> tuple[Rotation, Array] | None:
    if not path.exists():
        return None
    rotation, variances, found = load_rotation(path, width)
    return (rotation, variances) if found == fingerprint else None
