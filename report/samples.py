"""A grid of sampled faces."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from experiment.folder import FIGURES, RESULTS
from experiment.seeds import bank_seeds
from experiment.write import write_atomically, write_rows
from report.summary import write_summary
from sampling.config import SampleConfig
from sampling.sample_faces import SAMPLES_FILE


@dataclass(frozen=True)
class SampleRow:
    """A row of ``results.csv``: the seed that a face's noise hangs on, alone."""

    face: int
    seed: int


def report_samples(config: SampleConfig, images: Tensor) -> None:
    """Draw sampled faces (N, 3, H, W) in [0, 1] and sum up how they came about."""
    figure = config.out / FIGURES / "faces.png"
    draw_samples(figure, images)
    seeds = bank_seeds(config.seed, len(images))
    rows = [SampleRow(face, seed) for face, seed in enumerate(seeds)]
    write_rows(config.out / RESULTS, rows, SampleRow)
    text = f"{len(images)} faces by {config.sampler} in {config.steps} steps."
    write_summary(
        config.out, "New faces", text, [figure], [config.out / RESULTS, config.out / SAMPLES_FILE]
    )


def draw_samples(path: Path, images: Tensor) -> None:
    """Write images (N, 3, H, W) in [0, 1] as one PNG, about as many rows as columns."""
    columns = max(1, round(len(images) ** 0.5))
    grid = to_pil_image(make_grid(images, nrow=columns, pad_value=1.0))
    write_atomically(path, lambda target: grid.save(target, format="PNG"))
