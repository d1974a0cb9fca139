"""Latents of a data set: posterior means, their moments, and how diagonal the covariance is."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from experiment.folder import file_in
from experiment.read import reading
from experiment.tensors import (
    checked_tensor,
    metadata_integer,
    metadata_value,
    read_tensors,
    write_tensors,
)
from experiment.write import sha256
from vae.images import DEFAULT_IMAGE_SIZE, IMAGE_SIZES, SPLITS
from vae.model import LATENT_DIM, VAE, to_float

LATENTS_KIND = "mergelab latents, format 1"
LATENTS_FILE = "latents.safetensors"


@dataclass(frozen=True, eq=False)
class Latents:
    """Moments of the posterior means of a data set, and the means themselves if they are kept."""

    mean: Tensor  # (128,) float64
    covariance: Tensor  # (128, 128) float64
    count: int  # number of images
    vae_sha256: str  # of the weights file that encoded these latents
    data_fingerprint: str
    image_size: int = DEFAULT_IMAGE_SIZE  # side of the encoded images in pixels
    codes: Tensor | None = None  # (N, 128) float32
    splits: Tensor | None = None  # (N,) uint8, indices into vae.images.SPLITS

    @property
    def variances(self) -> Tensor:
        """Diagonal of the covariance, (128,) float64."""
        return self.covariance.diagonal()


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
    return codes.mean(dim=0), torch.cov(codes.T, correction=0)


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


def load_latents(path: Path) -> Latents:
    """Read latents from a file, or from a run folder of encode_latents.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: the file is damaged, or has wrong shapes or values that are not finite.
    """
    path = latents_path(path)
    hint = "make latents with mergelab encode_latents"
    tensors, metadata = read_tensors(path, LATENTS_KIND, hint)
    with reading(path, "latents", hint):
        # Older files, of 64 pixels always, do not name the size.
        size = metadata_integer({"image_size": str(DEFAULT_IMAGE_SIZE)} | metadata, "image_size")
        if size not in IMAGE_SIZES:
            raise ValueError(f"image_size {size} is none of {IMAGE_SIZES}")
        count = metadata_integer(metadata, "count", least=1)
        covariance = checked_tensor(tensors, "covariance", torch.float64, (LATENT_DIM, LATENT_DIM))
        variances = covariance.diagonal()
        if (variances < 0).any():
            i = int(variances.argmin())
            raise ValueError(
                f"variance of coordinate {i} is {variances[i].item()}, must be at least 0"
            )
        codes = splits = None
        if "codes" in tensors or "splits" in tensors:
            codes = checked_tensor(tensors, "codes", torch.float32, (count, LATENT_DIM))
            splits = checked_tensor(tensors, "splits", torch.uint8, (count,))
            if (splits >= len(SPLITS)).any():
                raise ValueError(f"splits hold {int(splits.max())}, must be below {len(SPLITS)}")
        return Latents(
            mean=checked_tensor(tensors, "mean", torch.float64, (LATENT_DIM,)),
            covariance=covariance,
            count=count,
            vae_sha256=metadata_value(metadata, "vae_sha256"),
            data_fingerprint=metadata_value(metadata, "data_fingerprint"),
            image_size=size,
            codes=codes,
            splits=splits,
        )


def refuse_mismatch(latents: Latents, latents_path: Path, weights: Path) -> None:
    """Refuse latents that were encoded by another VAE than the one that decodes them.

    Raises:
        ValueError: the weights file is not the one that the latents name.
    """
    if latents.vae_sha256 != sha256(weights):
        raise ValueError(
            f"{latents_path}: not encoded by {weights}: its SHA-256 differs from the one recorded "
            "there; give --vae the model that encoded them, or encode again with this model"
        )
