"""The report of sample_faces: a grid of the faces."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from experiment.folder import FIGURES, RESULTS
from experiment.read import read_json
from experiment.seeds import bank_seeds
from experiment.write import write_rows
from report.faces import DPI, draw_face_grid
from report.page import Picture
from report.style import SAMPLER_LABELS, save_figure
from report.summary import write_summary
from sampling.config import SampleConfig
from sampling.fid import FID_FILE
from sampling.sample_faces import SAMPLES_FILE, STRENGTHS

MOST_IN_A_ROW = 8  # faces between two noises
MOST_ROWS = 10  # faces that are drawn with an attribute


@dataclass(frozen=True)
class SampleRow:
    """A row of ``results.csv``: a face and the seed of its noise."""

    face: int
    seed: int
    to_seed: int | None = None  # seed of the other noise, where faces lie between two
    weight: float | None = None  # share of the other noise: 0 at the first face, 1 at the last
    strength: float | None = None  # what the attribute's direction was multiplied by


def report_samples(config: SampleConfig, images: Tensor) -> None:
    """Draw sampled faces (N, 3, H, W) in [0, 1] and summarise how they were made."""
    figure = config.out / FIGURES / "faces.png"
    write_rows(config.out / RESULTS, list(_rows(config)), SampleRow)
    text = f"{len(images)} faces by {config.sampler} in {config.steps} steps."
    title = f"{SAMPLER_LABELS[config.sampler]}, {config.steps} steps"
    columns = None
    if config.interpolate is not None:
        first, last = config.interpolate
        text += (
            f" Their noise lies on the arc of a great circle from noise {first} to noise {last} of "
            f"bank {config.seed}: such points are distributed like noise, those of a straight line "
            "are not."
        )
        title += f": from noise {first} to noise {last}"
        columns = min(MOST_IN_A_ROW, len(images))
    if config.attribute is not None:
        times = ", ".join(f"{strength:g}" for strength in STRENGTHS)
        text += (
            f" Every row has one face at {times} times the direction of {config.attribute}, which "
            "is the mean latent with this attribute minus the mean latent without it."
        )
        title = f"{config.attribute}, {times} times its direction"
        columns = len(STRENGTHS)
        images = images[: MOST_ROWS * columns]
    save_figure(draw_face_grid(images, title, columns), figure, DPI)
    files, caption = [config.out / RESULTS, config.out / SAMPLES_FILE], text
    if config.fid is not None:
        found = read_json(config.out / FID_FILE)
        text += f" Their FID against {found['images']:,} images is {found['fid']:.2f}."
    if config.png is not None:
        text += f" `{config.png}` has them as single images."
    write_summary(config.out, "New faces", text, [Picture(figure, caption, is_photo=True)], files)


def _rows(config: SampleConfig) -> Iterator[SampleRow]:
    if config.interpolate is not None:
        first, last = (bank_seeds(config.seed, 1, number)[0] for number in config.interpolate)
        for face in range(config.count):
            yield SampleRow(face, first, last, face / (config.count - 1))
        return
    strengths = [None] if config.attribute is None else STRENGTHS
    faces = product(bank_seeds(config.seed, config.count), strengths)
    for face, (seed, strength) in enumerate(faces):
        yield SampleRow(face, seed, strength=strength)
