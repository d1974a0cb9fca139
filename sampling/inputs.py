"""What the commands of this package work on: estimator, VAE, and latents in two parts."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusion.grid import TimeGrid
from diffusion.schedule import NoiseLevels
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.write import sha256
from sampling.config import CompareSamplersConfig, OperatorConfig
from sampling.estimator_file import (
    Trained,
    estimator_path,
    load_estimator,
    refuse_other_vae,
    refuse_untrained_levels,
)
from sampling.noise_estimator import NoiseEstimator
from vae.checkpoint import load_vae, weights_path
from vae.images import SPLITS
from vae.latents import Latents, latents_path, load_latents, refuse_mismatch
from vae.model import VAE


@dataclass(frozen=True)
class Models:
    """The estimator and the VAE that decodes its samples, on one device."""

    estimator: NoiseEstimator
    vae: VAE
    inputs: dict[str, str]  # SHA-256 of both files
    device: torch.device
    trained: Trained
    """What the estimator's file says about its training."""


def load_models(estimator: Path | None, vae: Path | None, device: str) -> Models:
    """Load both models; None means the embedded one.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged, or they do not fit each other.
    """
    picked = pick_device(device)
    estimator, weights = estimator_path(estimator), weights_path(vae)
    model, trained = load_estimator(estimator)
    decoder = load_vae(weights)
    refuse_other_vae(trained, estimator, weights)
    inputs = {"estimator": sha256(estimator), "vae": sha256(weights)}
    return Models(model.to(picked), decoder.to(picked), inputs, picked, trained)


def split(latents: Latents, path: Path) -> tuple[Tensor, Tensor]:
    """Training and held-out latents, (N, d) float32 each, with the split of the VAE's own training.

    Latents that name no VAE are split at random, a tenth is held out.

    Raises:
        ValueError: the file holds only moments, or one of the two sets is empty.
    """
    if latents.codes is not None and latents.vae_sha256 is None:
        held_out = _random_tenth(latents.count)
        return latents.codes[~held_out].float(), latents.codes[held_out].float()
    if latents.codes is None or latents.splits is None:
        raise ValueError(
            f"{path}: holds moments without latents; encode again without --moments-only"
        )
    held_out = latents.splits != SPLITS.index("train")
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"{path}: {int((~held_out).sum())} latents to train on and {int(held_out.sum())} held "
            "out: both are needed; encode more images"
        )
    return latents.codes[~held_out], latents.codes[held_out]


def _random_tenth(count: int) -> Tensor:
    """A mask (N,) of a tenth of the rows, at least one; it depends on N alone."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order < max(1, count // 10)


def open_with_latents(
    job: str,
    config: CompareSamplersConfig | OperatorConfig,
    levels: NoiseLevels | TimeGrid,
    inputs: dict[str, str],
) -> tuple[Models, Tensor, Tensor]:
    """Load the models and this VAE's latents, and open the run folder of the command ``job``.

    Args:
        levels: Noise levels at which the estimator will be asked.
        inputs: Name of each input besides models and latents -> its SHA-256.

    Returns:
        The models, and the training and the held-out latents, (N, d) each.

    Raises:
        FileNotFoundError, OSError, ValueError: models, latents or run folder are missing, damaged
            or another run's, one of the two sets of latents is empty, or the estimator was not
            trained at such levels.
    """
    models = load_models(config.estimator, config.vae, config.device)
    refuse_untrained_levels(models.trained, levels)
    path = latents_path(config.latents)
    latents = load_latents(path)
    refuse_mismatch(latents, path, weights_path(config.vae))
    training, held_out = split(latents, path)
    inputs = models.inputs | {"latents": sha256(path)} | inputs
    open_run(config.out, job, config, inputs, str(models.device))
    return models, training, held_out
