"""A grid of sampled faces."""

from pathlib import Path

from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from report.summary import conclude
from sampling.config import SampleConfig
from sampling.faces import FILE_NAME
from vae.files import write_atomically
from vae.run_folder import FIGURES


def conclude_samples(config: SampleConfig, images: Tensor) -> None:
    """Draw sampled faces (N, 3, H, W) in [0, 1] and sum up how they came about."""
    figure = config.out / FIGURES / "faces.png"
    draw_samples(figure, images)
    text = f"{len(images)} faces by {config.sampler} in {config.steps} steps."
    conclude(config.out, "New faces", text, [figure], [config.out / FILE_NAME])


def draw_samples(path: Path, images: Tensor) -> None:
    """Write images (N, 3, H, W) in [0, 1] as one PNG, about as many rows as columns."""
    columns = max(1, round(len(images) ** 0.5))
    grid = to_pil_image(make_grid(images, nrow=columns, pad_value=1.0))
    write_atomically(path, lambda target: grid.save(target, format="PNG"))
