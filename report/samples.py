"""The report of sample_faces: a grid of the faces."""

from dataclasses import dataclass

from torch import Tensor

from experiment.folder import FIGURES, RESULTS
from experiment.seeds import bank_seeds
from experiment.write import write_rows
from report.faces import DPI, draw_face_grid
from report.page import Picture
from report.style import SAMPLER_LABELS, save_figure
from report.summary import write_summary
from sampling.config import SampleConfig
from sampling.sample_faces import SAMPLES_FILE


@dataclass(frozen=True)
class SampleRow:
    """A row of ``results.csv``: a face and the seed of its noise."""

    face: int
    seed: int


def report_samples(config: SampleConfig, images: Tensor) -> None:
    """Draw sampled faces (N, 3, H, W) in [0, 1] and summarise how they were made."""
    figure = config.out / FIGURES / "faces.png"
    seeds = bank_seeds(config.seed, len(images))
    rows = [SampleRow(face, seed) for face, seed in enumerate(seeds)]
    write_rows(config.out / RESULTS, rows, SampleRow)
    text = f"{len(images)} faces by {config.sampler} in {config.steps} steps."
    title = f"{SAMPLER_LABELS[config.sampler]}, {config.steps} steps"
    save_figure(draw_face_grid(images, title), figure, DPI)
    write_summary(
        config.out,
        "New faces",
        text,
        [Picture(figure, text, is_photo=True)],
        [config.out / RESULTS, config.out / SAMPLES_FILE],
    )
