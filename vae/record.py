"""The record of a training: one JSON object an epoch, and TensorBoard on request."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from experiment.metrics import METRICS
from experiment.write import append_line, keep_lines
from vae.evaluate import Quality

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter  # an extra

DIMENSIONS = "latent_dimensions.jsonl"


class Record:
    """Appends to ``metrics.jsonl`` and ``latent_dimensions.jsonl``; what is there is kept."""

    def __init__(self, run: Path, epochs_done: int, track: str) -> None:
        """Drop rows of epochs that were recorded, but not saved before the run was cut off.

        Raises:
            OSError, ValueError: a record is damaged, or TensorBoard is asked for and not installed.
        """
        self._run = run
        for name in (METRICS, DIMENSIONS):
            path = run / name
            if path.exists():
                keep_lines(path, epochs_done)
        self._writer = _open_tensorboard(run, epochs_done) if track == "tensorboard" else None

    def epoch(self, row: dict[str, float], quality: Quality, picture: Path) -> None:
        """Add an epoch's row, the KL and variance of every latent coordinate, and its picture."""
        dimensions = {
            "epoch": row["epoch"],
            "kl_per_dimension": _rounded(quality.kl_per_dimension.tolist()),
            "variances": _rounded(quality.covariance.diagonal().tolist()),
        }
        for name, values in ((METRICS, row), (DIMENSIONS, dimensions)):
            append_line(self._run / name, json.dumps(values))
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(name, value, row["epoch"])
            pixels = np.asarray(Image.open(picture))
            self._writer.add_image("reconstructions", pixels, row["epoch"], dataformats="HWC")
            self._writer.flush()


def _rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _open_tensorboard(run: Path, epochs_done: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--track tensorboard: not installed here; pip install tensorboard"
        ) from error
    return SummaryWriter(run / "tensorboard", purge_step=epochs_done + 1)
