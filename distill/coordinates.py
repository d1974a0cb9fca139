"""The coordinates in which latents are planned: their own, or those that make them uncorrelated."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from diffusion.rotation import RANK, Rotation, eigen_rotation, principal_rotation
from distill.config import Rotate
from experiment.read import reading
from experiment.tensors import checked_tensor, metadata_value, read_tensors, write_tensors
from vae.latents import Latents, row_chunks

Array = NDArray[np.float64]
ROTATION_KIND = "mergelab rotation, format 1"
_SAMPLED_NUMBERS = 2**24  # numbers from which the shape of the codes' distribution is taken
_SAMPLED_ROWS = 4096


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
    return principal_rotation(partial(row_chunks, latents.codes), mean)


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
