"""A noise estimator as a file: half-precision safetensors that record the VAE of the latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion.covariance import Eigenbasis
from experiment.folder import file_in
from experiment.read import reading
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
UNKNOWN_VAE = "unknown"  # of latents that do not name their encoder
EXACT = ("basis",)  # matrices kept in float32


@dataclass(frozen=True)
class Trained:
    """Metadata of a noise estimator's file."""

    width: int
    depth: int
    updates: int
    latent_dim: int
    vae_sha256: str  # of the VAE whose latents were used for training, or UNKNOWN_VAE
    data_fingerprint: str


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
    facts = {name: str(value) for name, value in vars(trained).items()}
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
        sizes = ("width", "depth", "latent_dim")
        trained = Trained(
            **{name: metadata_integer(metadata, name, least=1) for name in sizes},
            updates=metadata_integer(metadata, "updates"),
            vae_sha256=metadata_value(metadata, "vae_sha256"),
            data_fingerprint=metadata_value(metadata, "data_fingerprint"),
        )
        model = _blank(trained, tensors)
        model.load_state_dict(check_weights(tensors, model.state_dict()))
    return model.requires_grad_(False).eval(), trained


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
