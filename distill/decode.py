"""From students to images: shared noise in, decoded faces and pixel distances out."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.coordinates import Rotation
from experiment.seeds import bank_seeds, seeded_noise
from vae.model import VAE
from vae.ms_ssim import ssim

Array = NDArray[np.float64]
RESAMPLES = 10_000


def noise_bank(seed: int, first: int, count: int, latent_dim: int) -> Tensor:
    """Initial noise z_T of the images first, ..., first + count - 1, (count, latent_dim)."""
    return seeded_noise(bank_seeds(seed, count, first), latent_dim)


@torch.no_grad()
def decode_operator(
    model: VAE, operator: Array, mean: Tensor, z_T: Tensor, rotation: Rotation | None = None
) -> Tensor:
    """Images that a one-step student makes of initial noise.

        images = decode(mean + Q (a * z_T))

    Args:
        operator: a, (d,); where x_T is not unit noise, ``Problem.on_unit_noise`` of it.
        mean: Mean of the latents, (d,), which students do not see.
        z_T: (B, d), on any device.
        rotation: Q, if a is that of rotated coordinates.

    Returns:
        (B, 3, S, S) in [0, 1], on the CPU.
    """
    device = next(model.parameters()).device
    made = torch.from_numpy(operator) * z_T.double()
    if rotation is not None:
        made = torch.from_numpy(rotation.back(made.cpu().numpy()))
    latents = mean.double() + made
    return model.decode(latents.float().to(device)).cpu()


def pixel_l2(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance over all pixels and channels, values in [0, 1], (B, C, H, W) -> (B,)."""
    return (images - others).square().sum(dim=(1, 2, 3)).sqrt()


@dataclass(frozen=True)
class Likeness:
    """How close a strategy's images are to the target's images of the same noise."""

    l2: float
    """Mean over images of the pixel distance."""
    l2_low: float
    """Lower end of the 95 % interval of that mean."""
    l2_high: float
    """Upper end of the interval."""
    ssim: float
    """Mean over images."""


def likeness(images: Tensor, target: Tensor) -> Likeness:
    """Compare images with the target's, (B, 3, H, W) in [0, 1] both.

    The interval is the percentile bootstrap over images. All strategies use the same resamples, so
    two means are compared over the same faces.
    """
    distances = pixel_l2(images, target).double().numpy()
    generator = np.random.default_rng(0)
    resampled = generator.integers(0, len(distances), (RESAMPLES, len(distances)))
    low, high = np.quantile(distances[resampled].mean(axis=1), [0.025, 0.975])
    similarity = ssim(images, target).mean()
    return Likeness(float(distances.mean()), float(low), float(high), similarity.item())
