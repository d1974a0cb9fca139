"""A noise estimator as a file: half-precision safetensors that record the VAE of the latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.covariance import Eigenbasis
from diffusion.grid import TimeGrid
from diffusion.schedule import NoiseLevels
from experiment.folder import file_in
from experiment.read import finite_text, reading
from experiment.tensors import (
    check_weights,
    checked_tensor,
    metadata_integer,
    metadata_value,
    read_tensors,
    write_tensors,
)
from experiment.write import sha256
from sampling.noise_estimator import NoiseEstimator

ESTIMATOR_KIND = "mergelab noise estimator, format 1"
ESTIMATOR_FILE = "noise_estimator.safetensors"
CHECKPOINT = "checkpoint.pt"  # state of a training, beside the final weights
UNKNOWN_VAE = "unknown"  # recorded where latents do not name their encoder
EXACT = ("basis",)  # matrices kept in float32
LEVELS = ("schedule", "least_angle", "largest_angle")
ANGLE_ROUNDING = 1e-6


@dataclass(frozen=True)
class Trained:
    """Metadata of a noise estimator's file."""

    width: int
    depth: int
    updates: int
    latent_dim: int
    vae_sha256: str  # hash of the VAE whose latents were used for training, or UNKNOWN_VAE
    data_fingerprint: str
    schedule: str = "cosine"  # name of the schedule whose noise levels were trained
    # atan2(sigma, alpha) of the least and the largest noise level; of cosine they are not kept.
    least_angle: float = 0.0
    largest_angle: float = float(np.pi / 2)


def recorded_levels(schedule: NoiseLevels) -> dict[str, Any]:
    """What ``Trained`` says about the schedule of the training; nothing for cosine."""
    if schedule.name == "cosine":
        return {}
    angle = np.arctan2(schedule.sigma, schedule.alpha)
    return {
        "schedule": schedule.name,
        "least_angle": float(angle[1]),
        "largest_angle": float(angle[-1]),
    }


def refuse_untrained_levels(trained: Trained, levels: NoiseLevels | TimeGrid) -> None:
    """Refuse noise levels that are not between those on which the estimator was trained.

    Raises:
        ValueError: with both ranges of sigma / alpha.
    """
    angle = np.arctan2(levels.sigma, levels.alpha)[levels.sigma > 0]
    least, largest = trained.least_angle, trained.largest_angle
    if angle.min() < least - ANGLE_ROUNDING or angle.max() > largest + ANGLE_ROUNDING:
        asked, known = (
            f"{np.tan(low):.3g} to {_ratio(high)}"
            for low, high in ((angle.min(), angle.max()), (least, largest))
        )
        raise ValueError(
            f"--estimator was trained on the schedule {trained.schedule}, whose sigma / alpha go "
            f"from {known}, not from {asked} as asked; give its --schedule (sample_faces: with "
            "--spacing t), or --q-min and --q-max inside that range"
        )


def _ratio(angle: float) -> str:
    """The tangent of an angle of at most pi/2, as text."""
    return "infinity" if angle > np.pi / 2 - ANGLE_ROUNDING else f"{np.tan(angle):.3g}"


def embedded_estimator() -> Path:
    """File of the trained model in the package, for the embedded VAE."""
    return Path(__file__).parent / "pretrained" / ESTIMATOR_FILE


def estimator_path(estimator: Path | None) -> Path:
    """The weights file in a run folder, the given file, or (None) the embedded model."""
    return embedded_estimator() if estimator is None else file_in(estimator, ESTIMATOR_FILE)


def save_estimator(path: Path, model: NoiseEstimator, trained: Trained) -> None:
    """Write the weights: the network's matrices in float16, vectors and the basis in float32."""
    tensors = {
        name: tensor.half() if tensor.ndim > 1 and name not in EXACT else tensor
        for name, tensor in model.state_dict().items()
    }
    left_out = LEVELS if trained.schedule == "cosine" else ()
    facts = {name: str(value) for name, value in vars(trained).items() if name not in left_out}
    write_tensors(path, tensors, {"kind": ESTIMATOR_KIND} | facts)


def load_estimator(path: Path) -> tuple[NoiseEstimator, Trained]:
    """Read a float32 model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: the file is damaged, or does not fit the network.
    """
    if not path.exists() and path.with_name(CHECKPOINT).exists():
        raise FileNotFoundError(
            f"{path}: not there yet: the training in this folder has not ended; repeat its "
            "command to resume it"
        )
    hint = "make an estimator with mergelab train_noise_estimator, or copy it again"
    tensors, metadata = read_tensors(path, ESTIMATOR_KIND, hint)
    with reading(path, "a noise estimator", hint):
        trained = Trained(
            width=metadata_integer(metadata, "width", least=1),
            depth=metadata_integer(metadata, "depth", least=1),
            latent_dim=metadata_integer(metadata, "latent_dim", least=1),
            updates=metadata_integer(metadata, "updates"),
            vae_sha256=metadata_value(metadata, "vae_sha256"),
            data_fingerprint=metadata_value(metadata, "data_fingerprint"),
            **_levels(metadata),
        )
        model = _blank(trained, tensors)
        model.load_state_dict(check_weights(tensors, model.state_dict()))
    return model.requires_grad_(False).eval(), trained


def _levels(metadata: Mapping[str, str]) -> dict[str, Any]:
    if "schedule" not in metadata:
        return {}
    least, largest = (
        finite_text(metadata_value(metadata, name), name, least=0.0) for name in LEVELS[1:]
    )
    if not 0 < least <= largest:
        raise ValueError(f"noise levels from the angle {least} to {largest}")
    return {"schedule": metadata["schedule"], "least_angle": least, "largest_angle": largest}


def _blank(trained: Trained, tensors: Mapping[str, Tensor]) -> NoiseEstimator:
    """An untrained network of that size. Damaged sizes could fill the memory and are refused."""
    dim, width, depth = trained.latent_dim, trained.width, trained.depth
    checked_tensor(tensors, "basis", torch.float32, (dim, dim))
    for block in range(depth):
        checked_tensor(tensors, f"mlp.blocks.{block}.inner.weight", torch.float16, (width, width))
    return NoiseEstimator(Eigenbasis(np.zeros(dim), np.ones(dim), np.eye(dim)), width, depth)


def refuse_other_vae(trained: Trained, estimator: Path, weights: Path) -> None:
    """Refuse an estimator that was trained on latents of another VAE than ``weights``.

    Raises:
        ValueError: the weights file is not the recorded one, or none is recorded.
    """
    if trained.vae_sha256 == UNKNOWN_VAE:
        raise ValueError(
            f"{estimator}: trained on latents that do not name their VAE, so it has no faces; "
            "train one on latents of mergelab encode_latents"
        )
    found = sha256(weights)
    if trained.vae_sha256 != found:
        raise ValueError(
            f"{estimator}: trained on latents of the VAE with SHA-256 {trained.vae_sha256[:16]}…, "
            f"not of {weights} ({found[:16]}…); give --vae that model, or train an estimator for "
            "this one: mergelab encode_latents, then mergelab train_noise_estimator"
        )
