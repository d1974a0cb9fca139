"""Latents of a data set: the codes of its images, their moments, and how diagonal these are.

They come from a file of encode_latents, which names its VAE, or from any array of numbers, whose
encoder is unknown. Nothing but the faces needs the VAE.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.gaussian import LARGEST_VARIANCE
from diffusion.gaussianity import streamed_moments
from experiment.folder import file_in
from experiment.progress import tqdm
from experiment.read import reading
from experiment.tensors import (
    checked_tensor,
    fingerprint,
    metadata_integer,
    metadata_value,
    read_rows,
    read_tensors,
    split_name,
    write_tensors,
)
from experiment.write import sha256
from vae.checkpoint import embedded_vae, weights_path
from vae.images import DEFAULT_IMAGE_SIZE, IMAGE_SIZES, SPLITS
from vae.model import LATENT_DIM, VAE, to_float

LATENTS_KIND = "mergelab latents, format 1"
LATENTS_FILE = "latents.safetensors"
SMALLEST_VARIANCE = 1 / LARGEST_VARIANCE
"""Latents whose largest variance is below are refused. Codes that differ by rounding are."""
MOST_FULL = 4096
"""Coordinates up to which the full covariance is computed; its float64 takes 0.13 GB then."""
_CHUNK = 2**22  # numbers of the codes that are read at a time


@dataclass(frozen=True, eq=False)
class Latents:
    """Moments of the codes of a data set, and the codes themselves if they are kept."""

    mean: Tensor  # (d,) float64
    covariance: Tensor | None  # (d, d) float64; None where it would be too large
    count: int  # number of images
    vae_sha256: str | None  # of the weights file that encoded these latents; None: unknown
    data_fingerprint: str
    image_size: int = DEFAULT_IMAGE_SIZE  # side of the encoded images in pixels
    codes: Tensor | None = None  # (N, d) float32, or as the user's file has them
    splits: Tensor | None = None  # (N,) uint8, indices into vae.images.SPLITS
    diagonal: Tensor | None = None  # (d,) float64; given where the covariance is None

    @property
    def variances(self) -> Tensor:
        """Diagonal of the covariance, (d,) float64."""
        if self.covariance is not None:
            return self.covariance.diagonal()
        assert self.diagonal is not None
        return self.diagonal


@torch.no_grad()
def encode(model: VAE, images: Tensor, batch_size: int, bar: tqdm) -> Tensor:
    """Posterior means of uint8 images (N, S, S, 3), (N, 128) float32 on the CPU.

    Args:
        bar: Progress bar; it advances by one per image.
    """
    device = next(model.parameters()).device
    means = []
    for batch in images.split(batch_size):
        means.append(model.encode(to_float(batch.to(device)))[0].cpu())
        bar.update(len(batch))
    return torch.cat(means)


def moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) over the rows, divided by N, in float64."""
    codes = codes.double()
    # One coordinate has a number for its covariance, no matrix.
    return codes.mean(dim=0), torch.cov(codes.T, correction=0).reshape(2 * codes.shape[1:])


def describe(covariance: Tensor) -> dict[str, float]:
    """Statistics that say how diagonal a covariance (d, d) is, and how large its variances are.

    Returns:
        ``off_diagonal_energy``, the share of the squared Frobenius norm off the diagonal;
        ``largest_correlation`` in absolute value, over coordinates that vary;
        ``variances_above_1``, ``smallest_variance``, ``largest_variance``, ``total_variance``.
    """
    variances = covariance.diagonal()
    energy = covariance.square()
    scale = variances.clamp(min=1e-12).sqrt()
    correlation = covariance / (scale[:, None] * scale)
    return {
        "off_diagonal_energy": (1.0 - variances.square().sum() / energy.sum()).item(),
        "largest_correlation": correlation.fill_diagonal_(0.0).abs().max().item(),
        "variances_above_1": int((variances > 1.0).sum()),
        "smallest_variance": variances.min().item(),
        "largest_variance": variances.max().item(),
        "total_variance": variances.sum().item(),
    }


def save_latents(path: Path, latents: Latents) -> None:
    """Write latents, or only their moments if ``codes`` is None."""
    assert latents.covariance is not None
    assert latents.vae_sha256 is not None  # encode_latents knows its VAE
    tensors = {"mean": latents.mean, "covariance": latents.covariance}
    if latents.codes is not None and latents.splits is not None:
        tensors |= {"codes": latents.codes, "splits": latents.splits}
    metadata = {
        "kind": LATENTS_KIND,
        "count": str(latents.count),
        "vae_sha256": latents.vae_sha256,
        "data_fingerprint": latents.data_fingerprint,
        "image_size": str(latents.image_size),
    }
    write_tensors(path, tensors, metadata)


def latents_path(latents: Path) -> Path:
    """The latents file in a folder of encode_latents, or the given file."""
    return file_in(latents, LATENTS_FILE)


def latents_fingerprint(latents: Latents, given: Path) -> str:
    """SHA-256 of the file that the latents were read from, and the name of its array if given."""
    if latents.vae_sha256 is None:
        return latents.data_fingerprint  # found when it was read
    return sha256(latents_path(given))


HINT = (
    "make latents with mergelab encode_latents, or give a .npy, .npz or .safetensors file of "
    "numbers (N, ...) from any encoder"
)


def load_latents(
    given: Path, log: Callable[[str], object] = lambda line: None, full: bool = True
) -> Latents:
    """Read latents: a run folder of encode_latents or its file, or an array of any encoder.

    Args:
        given: FILE.npz:NAME names one of several arrays.
        log: Called with one line before moments are computed: sizes, and what they need.
        full: Whether the covariance is asked for where it has to be computed.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: the file is damaged, or has wrong shapes or values that are not finite, or its
            rows are all equal.
    """
    path = latents_path(given)
    if not given.is_dir() and not _is_ours(path):
        return _latents_of_array(path, log, full)
    tensors, metadata = read_tensors(path, LATENTS_KIND, HINT)
    with reading(path, "latents", HINT):
        # Older files, of 64 pixels always, do not name the size.
        size = metadata_integer({"image_size": str(DEFAULT_IMAGE_SIZE)} | metadata, "image_size")
        if size not in IMAGE_SIZES:
            raise ValueError(f"image_size {size} is none of {IMAGE_SIZES}")
        count = metadata_integer(metadata, "count", least=1)
        covariance = checked_tensor(tensors, "covariance", torch.float64, (None, None))
        width = len(covariance)
        checked_tensor(tensors, "covariance", torch.float64, (width, width))
        if width == 0:
            raise ValueError("latents of no coordinate")
        variances = covariance.diagonal()
        if (variances < 0).any():
            i = int(variances.argmin())
            raise ValueError(
                f"variance of coordinate {i} is {variances[i].item()}, must be at least 0"
            )
        refuse_useless(variances.numpy(), count)
        codes = splits = None
        if "codes" in tensors or "splits" in tensors:
            codes = checked_tensor(tensors, "codes", torch.float32, (count, width))
            splits = checked_tensor(tensors, "splits", torch.uint8, (count,))
            if (splits >= len(SPLITS)).any():
                raise ValueError(f"splits hold {int(splits.max())}, must be below {len(SPLITS)}")
        return Latents(
            mean=checked_tensor(tensors, "mean", torch.float64, (width,)),
            covariance=covariance,
            count=count,
            vae_sha256=metadata_value(metadata, "vae_sha256"),
            data_fingerprint=metadata_value(metadata, "data_fingerprint"),
            image_size=size,
            codes=codes,
            splits=splits,
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is of mergelab, of whatever kind, or a damaged one without a better guess."""
    if path.suffix in (".npy", ".npz") or split_name(path)[1] is not None:
        return False
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return (file.metadata() or {}).get("kind", "").startswith("mergelab ")
    except (OSError, SafetensorError, TypeError, RuntimeError, ValueError):
        return True  # whatever is wrong, reading it tells


def _latents_of_array(path: Path, log: Callable[[str], object], full: bool) -> Latents:
    codes, shape = read_rows(path, HINT)
    count, width = codes.shape
    sizes = " x ".join(map(str, shape))
    log(
        f"{path.name}: {count:,} latents of {sizes}{f' = {width:,}' if len(shape) > 1 else ''} "
        f"coordinates, {str(codes.dtype).removeprefix('torch.')}{_memory(width)}"
    )
    with reading(path, "latents", HINT):
        return latents_of_rows(codes, fingerprint(path), full)


def latents_of_rows(codes: Tensor, data_fingerprint: str = "", full: bool = True) -> Latents:
    """Latents of an unknown encoder, with their moments.

    Args:
        codes: (N, d), of any floating type.
        full: Whether the covariance is asked for, where d is at most ``MOST_FULL``.

    Raises:
        ValueError: a number is not finite or too large, or the rows are all equal.
    """
    count, width = codes.shape
    if count < 2:
        raise ValueError("1 row has no variance: at least 2 are needed, some hundreds for use")
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        chunks = row_chunks(codes, refuse_non_finite=True)
        found = streamed_moments(chunks, full and width <= MOST_FULL)
    refuse_useless(found.variances, count)
    return Latents(
        mean=torch.from_numpy(found.mean),
        covariance=None if found.covariance is None else torch.from_numpy(found.covariance),
        count=count,
        vae_sha256=None,
        data_fingerprint=data_fingerprint,
        codes=codes,
        diagonal=torch.from_numpy(found.variances),
    )


def refuse_useless(variances: NDArray[np.float64], count: int) -> None:
    """Refuse latents that do not vary, or whose scale the float32 of students cannot follow.

    Args:
        variances: (d,); what has overflowed is not finite.
        count: N.

    Raises:
        ValueError: with the largest variance.
    """
    largest = float(variances.max())
    if largest == 0:
        raise ValueError(f"all {count:,} rows are equal, so no coordinate varies")
    if not largest <= LARGEST_VARIANCE:
        found = f"is {largest:.3g}" if np.isfinite(largest) else "is beyond float64"
        raise ValueError(
            f"its numbers are too large: the largest variance {found}, must be at most "
            f"{LARGEST_VARIANCE:g}; divide them by a number"
        )
    if largest < SMALLEST_VARIANCE:
        raise ValueError(
            f"its numbers are too small: the largest variance is {largest:.3g}, must be at least "
            f"{SMALLEST_VARIANCE:g}; multiply them by a number"
        )


def _memory(width: int) -> str:
    gigabytes = 8 * width**2 / 1e9
    if width <= MOST_FULL:
        return f"; the covariance takes {gigabytes:.2g} GB of memory" if gigabytes > 0.01 else ""
    return (
        f"; the full covariance would take {gigabytes:.2g} GB of memory and is not computed, as "
        f"there are more than {MOST_FULL:,} coordinates"
    )


def row_chunks(codes: Tensor, refuse_non_finite: bool = False) -> Iterator[NDArray[np.float64]]:
    """The rows of codes (N, d), some at a time, in float64; a bar shows how far it is.

    Raises:
        ValueError: with the first row that is not finite, if these are to be refused.
    """
    size = max(1, _CHUNK // codes.shape[1])
    short = size >= len(codes)
    with tqdm(total=len(codes), desc="read", unit="latent", leave=False, disable=short) as bar:
        for first in range(0, len(codes), size):
            chunk = codes[first : first + size].double().numpy()
            if refuse_non_finite and not np.isfinite(chunk).all():
                row, column = np.argwhere(~np.isfinite(chunk))[0].tolist()
                raise ValueError(
                    f"row {first + row} holds {chunk[row, column]} in coordinate {column}; "
                    "all numbers must be finite"
                )
            yield chunk
            bar.update(len(chunk))


def find_latents(vae: Path | None, latents: Path | None) -> Path:
    """The file of the latents, or the embedded one where None is given.

    Raises:
        ValueError: latents of another VAE would be needed.
    """
    if latents is not None:
        return latents_path(latents)
    if vae is not None:
        raise ValueError(f"--vae {vae} needs --latents encoded by it: mergelab encode_latents")
    return embedded_vae().with_name(LATENTS_FILE)


def find_decoder(vae: Path | None, latents: Latents, latents_file: Path) -> Path | None:
    """The weights of the VAE that decodes the latents, or None if there is none, so no faces.

    Latents of an unknown encoder are decoded by the VAE that is given, and by no other.

    Raises:
        ValueError: the latents were encoded by another VAE, or are of another width.
    """
    if latents.vae_sha256 is not None:
        refuse_mismatch(latents, latents_file, weights_path(vae))
        return weights_path(vae)
    width = len(latents.mean)
    if vae is not None and width != LATENT_DIM:
        raise ValueError(
            f"{latents_file}: latents of {width} coordinates, --vae {vae} decodes {LATENT_DIM}; "
            "leave it out: everything but faces works without it"
        )
    return None if vae is None else weights_path(vae)


def refuse_mismatch(latents: Latents, latents_path: Path, weights: Path) -> None:
    """Refuse latents that were encoded by another VAE than the one that decodes them.

    Raises:
        ValueError: the weights file is not the one that the latents name, or they name none.
    """
    if latents.vae_sha256 is None:
        raise ValueError(
            f"{latents_path}: does not say which VAE encoded these latents, and this command needs "
            "that one; give --latents a folder of mergelab encode_latents"
        )
    if latents.vae_sha256 != sha256(weights):
        raise ValueError(
            f"{latents_path}: not encoded by {weights}: its SHA-256 differs from the one recorded "
            "there; give --vae the model that encoded them, or encode again with this model"
        )
