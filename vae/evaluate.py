"""How well a VAE reconstructs held-out faces, what its latents look like, and pictures of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_msssim
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from experiment.write import write_atomically
from vae.latents import describe, moments
from vae.loss import kl_to_standard_normal
from vae.model import LATENT_DIM, VAE, to_float, to_uint8
from vae.ms_ssim import SIGMA, ms_ssim, scales_for

BATCH_SIZE = 256
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016 (arXiv:1509.00519), sec. 5.2


@dataclass(frozen=True, eq=False)
class Quality:
    """Quality of a model on images that it was not trained on."""

    ms_ssim: float
    psnr: float  # dB, mean over images
    kl: float  # nats
    kl_per_dimension: Tensor  # (128,) nats, sums to ``kl``
    covariance: Tensor  # covariance of the posterior means, (128, 128) float64
    count: int  # number of images

    @property
    def active_units(self) -> int:
        """Coordinates whose posterior mean varies by more than 0.01."""
        return int((self.covariance.diagonal() > ACTIVE_VARIANCE).sum())

    def row(self) -> dict[str, float]:
        """The scalars of ``metrics.jsonl``, with the covariance summarised by ``describe``.

        ``off_diagonal_energy_by_chance`` is the value expected for N images if the covariance were
        diagonal with these variances: E c_ij**2 = lam_i lam_j / N for i != j.
        """
        variances, energy = self.covariance.diagonal(), self.covariance.square().sum()
        by_chance = (variances.sum().square() - variances.square().sum()) / self.count / energy
        return {
            "ms_ssim": self.ms_ssim,
            "psnr": self.psnr,
            "kl": self.kl,
            "active_units": self.active_units,
            **describe(self.covariance),
            "off_diagonal_energy_by_chance": by_chance.item(),
        }


@torch.no_grad()
def evaluate_vae(model: VAE, images: Tensor) -> Quality:
    """Reconstruct images from the posterior mean. The model stays in evaluation mode.

    Args:
        images: uint8 (N, S, S, 3), on any device.
    """
    model.eval()
    device = next(model.parameters()).device
    similarity, psnr, kl, means = [], [], [], []
    for chunk in images.split(BATCH_SIZE):
        batch = to_float(chunk.to(device))
        mu, log_var = model.encode(batch)
        reconstruction = model.decode(mu)
        similarity.append(measured_ms_ssim(reconstruction, batch))
        psnr.append(-10.0 * (reconstruction - batch).square().mean(dim=(1, 2, 3)).log10())
        kl.append(kl_to_standard_normal(mu, log_var))
        means.append(mu)
    kl_per_dimension = torch.cat(kl).mean(dim=0)
    return Quality(
        ms_ssim=torch.cat(similarity).mean().item(),
        psnr=torch.cat(psnr).mean().item(),
        kl=kl_per_dimension.sum().item(),
        kl_per_dimension=kl_per_dimension.cpu(),
        covariance=moments(torch.cat(means).cpu())[1],
        count=len(images),
    )


def measured_ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """MS-SSIM of two batches in [0, 1] as ``pytorch-msssim`` computes it, (B, 3, S, S) -> (B,).

    So recorded numbers compare with those of the field. The window and the weights of the scales
    are those of the training loss, ``scales_for``. That package refuses images of 32 and 48
    pixels, which are too small for its five scales; there the number is the training loss's own.
    """
    size = images.shape[-1]
    scales = scales_for(size)
    if size <= (scales.window - 1) * 2**4:
        return ms_ssim(images, others)
    measured: Tensor = pytorch_msssim.ms_ssim(
        images,
        others,
        data_range=1.0,
        size_average=False,
        win_size=scales.window,
        win_sigma=SIGMA,
        weights=list(scales.weights),
    )
    return measured


COLUMNS = 10
SHOWN_SIDE = 96  # pixels of a face in the picture, at least
LETTERS = 15  # pixels
# Legible on light and dark pages, and no sheet of paper below: photographs cannot be inverted for
# dark pages as drawings can.
INK = "#7a7a7a"


@torch.no_grad()
def picture_epoch(path: Path, model: VAE, images: Tensor, title: str) -> None:
    """Write a PNG: two rows of images, each above its reconstructions, then two rows of samples.

    Args:
        images: uint8 (N, S, S, 3), on any device; the first 20 are shown. Samples decode N(0, I)
            noise from a fixed seed, so pictures of different epochs show the same noise.
    """
    device = next(model.parameters()).device
    shown = to_float(images[: 2 * COLUMNS].to(device))
    reconstructions = model.decode(model.encode(shown)[0])
    noise = torch.randn(2 * COLUMNS, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    samples = model.decode(noise.to(device))
    rows: list[tuple[str, Tensor]] = []
    for pair in zip(shown.split(COLUMNS), reconstructions.split(COLUMNS), strict=True):
        rows += zip(("photographs", "reconstructions"), pair, strict=True)
    rows += [("samples", row) for row in samples.split(COLUMNS)]
    picture = _labelled_rows([(name, to_uint8(row).cpu().numpy()) for name, row in rows], title)
    write_atomically(path, lambda target: picture.save(target, format="PNG"))


def _labelled_rows(rows: Sequence[tuple[str, NDArray[np.uint8]]], title: str) -> Image.Image:
    """Rows of faces (n, S, S, 3) on nothing, with their names at the left, below a title."""
    font = ImageFont.load_default(LETTERS)
    scale = -(-SHOWN_SIDE // rows[0][1].shape[1])
    side = scale * rows[0][1].shape[1]
    left, top, gap = 9 * LETTERS, 2 * LETTERS, 4
    size = (left + COLUMNS * (side + gap), top + len(rows) * (side + gap))
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    drawing = ImageDraw.Draw(picture)
    drawing.text((left, LETTERS), title, INK, font, anchor="lm")
    for number, (name, faces) in enumerate(rows):
        y = top + number * (side + gap)
        drawing.text((left - LETTERS, y + side // 2), name, INK, font, anchor="rm")
        for column, face in enumerate(faces):
            enlarged = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
            picture.paste(enlarged, (left + column * (side + gap), y))
    return picture
