"""From students to images: shared noise in, decoded faces and pixel distances out."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.noise import seeded_noise
from vae.model import VAE

Array = NDArray[np.float64]
SEEDS_PER_BANK = 1_000_000


def noise_bank(seed: int, first: int, count: int, latent_dim: int) -> Tensor:
    """Initial noise z_T of the images first, ..., first + count - 1, (count, latent_dim)."""
    start = seed * SEEDS_PER_BANK + first
    return seeded_noise(range(start, start + count), latent_dim)


@torch.no_grad()
def decode_operator(model: VAE, operator: Array, mean: Tensor, z_T: Tensor) -> Tensor:
    """Images that a one-step student makes of initial noise.

        images = decode(mean + a * z_T)

    Args:
        operator: a, (d,).
        mean: Mean of the latents, (d,), added back.
        z_T: (B, d), on any device.

    Returns:
        (B, 3, S, S) in [0, 1], on the CPU.
    """
    device = next(model.parameters()).device
    latents = mean.double() + torch.from_numpy(operator) * z_T.double()
    return model.decode(latents.float().to(device)).cpu()


def pixel_l2(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance over all pixels and channels, values in [0, 1], (B, C, H, W) -> (B,)."""
    return (images - others).square().sum(dim=(1, 2, 3)).sqrt()


@dataclass(frozen=True)
class PixelDistance:
    """Mean distance to the teacher's images, and the standard error of that mean."""

    mean: float
    standard_error: float


def distance_to_teacher(images: Tensor, teacher: Tensor) -> PixelDistance:
    """Pixel L2 of a strategy's images to the surrogate teacher's of the same noise."""
    distances = pixel_l2(images, teacher).double()
    error = distances.std() / len(distances) ** 0.5 if len(distances) > 1 else torch.tensor(0.0)
    return PixelDistance(distances.mean().item(), error.item())
