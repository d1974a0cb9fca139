"""Pictures of a VAE in training: fixed reconstructions and samples."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from vae.files import write_atomically
from vae.model import LATENT_DIM, VAE
from vae.pixels import to_float

COLUMNS = 10


@torch.no_grad()
def picture_epoch(path: Path, model: VAE, images: Tensor) -> None:
    """Write a PNG: two rows of images, each above its reconstructions, then two of samples.

    Args:
        images: uint8 (N, S, S, 3), on any device; the first 20 are pictured. Samples decode N(0, I)
            noise from a fixed seed, so pictures of different epochs show the same ones.
    """
    device = next(model.parameters()).device
    shown = to_float(images[: 2 * COLUMNS].to(device))
    reconstructions = model.decode(model.encode(shown)[0])
    noise = torch.randn(2 * COLUMNS, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    samples = model.decode(noise.to(device))
    rows = [
        *(
            row
            for pair in zip(shown.split(COLUMNS), reconstructions.split(COLUMNS), strict=True)
            for row in pair
        ),
        samples,
    ]
    grid = make_grid(torch.cat(rows).cpu(), nrow=COLUMNS)
    write_atomically(path, lambda target: to_pil_image(grid).save(target, format="PNG"))
