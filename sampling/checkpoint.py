"""A noise estimator as a file: half-precision safetensors that name the VAE they belong to."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from diffusion.covariance import Eigenbasis
from diffusion.noise_estimator import NoiseEstimator
from vae.files import read_tensors, sha256, write_tensors

KIND = "mergelab noise estimator, format 1"
FILE_NAME = "noise_estimator.safetensors"
EXACT = ("basis",)  # matrices kept in float32


@dataclass(frozen=True)
class Trained:
    """What a noise estimator's file says of it, beside its weights."""

    width: int
    depth: int
    updates: int
    latent_dim: int
    vae_sha256: str  # of the VAE weights whose latents it was trained on
    data_fingerprint: str


def embedded_estimator() -> Path:
    """The trained model that comes with the package, for the embedded VAE."""
    return Path(str(resources.files("sampling") / "pretrained" / FILE_NAME))


def estimator_path(estimator: Path | None) -> Path:
    """File of a run folder, of a weights file, or (None) of the embedded model."""
    if estimator is None:
        return embedded_estimator()
    return estimator / FILE_NAME if estimator.is_dir() else estimator


def save_estimator(path: Path, model: NoiseEstimator, trained: Trained) -> None:
    """Write the weights: the network's matrices in float16, vectors and the basis in float32."""
    tensors = {
        name: tensor.half() if tensor.ndim > 1 and name not in EXACT else tensor
        for name, tensor in model.state_dict().items()
    }
    facts = {name: str(value) for name, value in vars(trained).items()}
    write_tensors(path, tensors, {"kind": KIND} | facts)


def load_estimator(path: Path) -> tuple[NoiseEstimator, Trained]:
    """Read a float32 model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, or does not fit the network.
    """
    tensors, metadata = read_tensors(path, KIND)
    try:
        numbers = {
            name: int(metadata[name]) for name in ("width", "depth", "updates", "latent_dim")
        }
        trained = Trained(
            **numbers,
            vae_sha256=metadata["vae_sha256"],
            data_fingerprint=metadata["data_fingerprint"],
        )
        dim = trained.latent_dim
        blank = Eigenbasis(np.zeros(dim), np.ones(dim), np.eye(dim))
        model = NoiseEstimator(blank, trained.width, trained.depth)
        model.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: does not fit the network ({reason}); train again with "
            "scripts/train_noise_estimator.py"
        ) from error
    return model.requires_grad_(False).eval(), trained


def refuse_other_vae(trained: Trained, estimator: Path, weights: Path) -> None:
    """Refuse an estimator of another VAE's latents than those that ``weights`` decodes.

    Raises:
        ValueError: the weights file is not the one that the estimator names.
    """
    found = sha256(weights)
    if trained.vae_sha256 != found:
        raise ValueError(
            f"{estimator}: trained on latents of the VAE with SHA-256 {trained.vae_sha256[:16]}…, "
            f"not of {weights} ({found[:16]}…); give --vae that model, or train an estimator for "
            "this one: scripts/encode_latents.py, then scripts/train_noise_estimator.py"
        )
