"""A grid of sampled faces."""

from pathlib import Path

from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from vae.files import write_atomically


def draw_samples(path: Path, images: Tensor) -> None:
    """Write images (N, 3, H, W) in [0, 1] as one PNG, about as many rows as columns."""
    columns = max(1, round(len(images) ** 0.5))
    grid = to_pil_image(make_grid(images, nrow=columns, pad_value=1.0))
    write_atomically(path, lambda target: grid.save(target, format="PNG"))
