"""Faces of the same noise under every strategy, and their differences as heatmaps.

Strategies with equal operators share one row, so each picture is decoded once.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion.grid import uniform_t_grid
from diffusion.samplers import ddim, sample
from distill.coordinates import Rotation
from distill.decode import decode_operator, noise_bank, pixel_l2
from explorer.settings import ScheduleChoice, Setting, noise_schedule, students_of
from planner.value import OPERATOR_ROUNDING
from report.equals import equal_groups
from report.faces import HEAT, heat, mosaic
from report.style import label
from sampling.estimator_file import embedded_estimator, load_estimator
from sampling.interpolate import arc
from sampling.noise_estimator import NoiseEstimator
from vae.model import VAE, to_uint8

Array = NDArray[np.float64]

NETWORK = "trained teacher"
COMPOSITE = "composite"
GAP = 0.05  # between faces, relative to their side


@dataclass(frozen=True, eq=False)
class Decoder:
    """The models of the face view."""

    vae: VAE
    mean: Tensor
    """Mean of the latents, (d,) float64."""
    rotation: Rotation | None
    """Where students map noise to rotated latents; None: to the latents themselves."""
    estimator: NoiseEstimator | None
    """The trained teacher; None where none belongs to the VAE."""

    def decode(self, operator: Array, z_T: Tensor) -> Tensor:
        """Images that a student makes of initial noise; see ``distill.decode``."""
        return decode_operator(self.vae, operator, self.mean, z_T, self.rotation)


@dataclass(frozen=True)
class Noise:
    """Initial noise: faces of one bank, moved towards those of another one."""

    seed: int
    other_seed: int
    share: float
    """0 is the first bank and 1 the other one."""
    count: int
    """Number of faces."""

    def draw(self, width: int) -> Tensor:
        """z_T, (count, width)."""
        first = noise_bank(self.seed, 0, self.count, width)
        if self.share == 0.0:
            return first
        other = noise_bank(self.other_seed, 0, self.count, width)
        return arc(first, other, torch.tensor([self.share]))[0]


@dataclass(frozen=True, eq=False)
class FaceRow:
    """Faces of one operator."""

    name: str
    """The strategies that have this operator, or the target's name."""
    images: Tensor
    """(B, 3, S, S) in [0, 1]."""
    distances: Tensor | None
    """Pixel L2 to the target's faces, (B,); None for the target itself."""


def load_decoder(vae: VAE, mean: Tensor, rotation: Rotation | None, is_embedded: bool) -> Decoder:
    """The models of the face view, on the CPU.

    Args:
        mean: Mean of the latents, (d,).
        rotation: That of the latents, if they are planned in rotated coordinates.
        is_embedded: Whether VAE and latents are the embedded ones, whose teacher is trained.
    """
    estimator = load_estimator(embedded_estimator())[0].eval() if is_embedded else None
    return Decoder(vae.eval(), mean, rotation, estimator)


def decode_rows(
    setting: Setting, strategies: Sequence[str], noise: Noise, decoder: Decoder
) -> list[FaceRow]:
    """The target's faces, then those of the teacher and of every chosen strategy.

    Args:
        setting: Its variances are those of the decoder's latents.

    Raises:
        FileNotFoundError, ValueError: the setting cannot be planned.
    """
    found = students_of(setting)
    z_T = noise.draw(len(decoder.mean))
    target_name = setting.students.target
    target = decoder.decode(found.target, z_T)
    rows = [FaceRow(target_name, target, None)]
    operators = {
        label(name): found.strategies[name].operator
        for name in strategies
        if name in found.strategies
    }
    if target_name != COMPOSITE:
        operators = {COMPOSITE: setting.problem().composite} | operators
    for group in equal_groups(operators, OPERATOR_ROUNDING):
        images = decoder.decode(operators[group[0]], z_T)
        rows.append(FaceRow(" = ".join(group), images, pixel_l2(images, target)))
    if decoder.estimator is not None:
        images = _by_network(setting.schedule, setting.num_steps, noise, decoder)
        rows.insert(1, FaceRow(NETWORK, images, pixel_l2(images, target)))
    return rows


@lru_cache(maxsize=8)
@torch.no_grad()
def _by_network(schedule: ScheduleChoice, num_steps: int, noise: Noise, decoder: Decoder) -> Tensor:
    """Faces by DDIM with the trained network, on the teacher's own time steps.

    They do not depend on the students' training, whose slider moves most.
    """
    assert decoder.estimator is not None
    grid = uniform_t_grid(noise_schedule(schedule, num_steps), num_steps)
    latents = sample(ddim, decoder.estimator.denoise, grid, noise.draw(len(decoder.mean)))
    return decoder.vae.decode(latents)


def faces_png(images: Tensor) -> bytes:
    """One row of faces as PNG."""
    return _png(mosaic(to_uint8(images).numpy()[None], 255, GAP, GAP))


def heat_png(images: Tensor, target: Tensor, top: float) -> bytes:
    """Mean absolute difference over channels as one row of heatmaps.

    Args:
        top: The difference at the end of the colour scale.
    """
    heats = heat(images - target).numpy() / top
    colours = (255 * matplotlib.colormaps[HEAT](heats.clip(0.0, 1.0))[..., :3]).astype(np.uint8)
    return _png(mosaic(colours[None], 255, GAP, GAP))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", compress_level=1)
    return data.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG for the src of an image."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def file_uri(path: Path) -> str:
    """A PNG file for the src of an image.

    Raises:
        OSError: it cannot be read.
    """
    return data_uri(path.read_bytes())
