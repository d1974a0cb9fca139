"""A VAE as files: half-precision weights, and the state of a pretraining between two steps."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from experiment.folder import file_in
from experiment.read import field, integer, number, reading, short_repr
from experiment.tensors import (
    check_adam,
    check_weights,
    checked_tensor,
    metadata_integer,
    read_checkpoint,
    read_tensors,
    write_checkpoint,
    write_tensors,
)
from vae.images import DEFAULT_IMAGE_SIZE, known_preprocessing, preprocessing_id
from vae.loss import VaeLoss
from vae.model import VAE

VAE_KIND = "mergelab VAE weights, format 1"
VAE_FILE = "vae.safetensors"
BEST_VAE_FILE = "best.safetensors"  # weights of the epoch with the best validation


def embedded_vae() -> Path:
    """File of the pretrained model in the package."""
    return Path(__file__).parent / "pretrained" / VAE_FILE


def weights_path(vae: Path | None) -> Path:
    """The weights file in a run folder, the given file, or (None) the embedded model."""
    return embedded_vae() if vae is None else file_in(vae, VAE_FILE)


def save_vae(path: Path, model: VAE) -> None:
    """Write the weights: matrices and kernels in float16, vectors (norms, biases) in float32."""
    tensors = {
        name: tensor.half() if tensor.ndim > 1 else tensor
        for name, tensor in model.state_dict().items()
    }
    metadata = {
        "kind": VAE_KIND,
        "image_size": str(model.image_size),
        "preprocessing": preprocessing_id(model.image_size),
    }
    write_tensors(path, tensors, metadata)


def load_vae(path: Path) -> VAE:
    """Read weights into a float32 model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the file is missing.
        OSError: it cannot be read.
        ValueError: the file is damaged, or made for other preprocessing or another network.
    """
    hint = "make weights with mergelab pretrain_vae, or copy them again"
    tensors, metadata = read_tensors(path, VAE_KIND, hint)
    with reading(path, "weights of a VAE", hint):
        # Older weights, of 64 pixels always, do not name the size.
        size = metadata_integer({"image_size": str(DEFAULT_IMAGE_SIZE)} | metadata, "image_size")
        if metadata.get("preprocessing") not in known_preprocessing(size):
            raise ValueError(
                f"made for images preprocessed as {metadata.get('preprocessing')}, "
                f"this version prepares {preprocessing_id(size)}"
            )
        model = VAE(size)
        model.load_state_dict(check_weights(tensors, model.state_dict()))
    return model.requires_grad_(False).eval().to(memory_format=torch.channels_last)


STATE_FORMAT = "mergelab VAE training state, format 2"
FOLDER = "checkpoints"
_PATTERN = "step_{:09d}.pt"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that the rest of the training depends on, except the config and the data."""

    epoch: int  # finished epochs, validated and recorded
    losses: Tensor  # (gradient steps done in the current epoch, 4), on the CPU
    best_ms_ssim: float  # best validation so far
    model: dict[str, Tensor]
    optimizer: dict[str, object]  # when read: only its "state"; the flags decide the settings


def save_state(
    run: Path, total_steps: int, state: TrainingState, image_size: int, keep: int
) -> None:
    """Write ``checkpoints/step_*.pt``, then remove all but the newest ``keep``.

    Args:
        total_steps: Gradient steps since the start; they name the file.

    Raises:
        OSError: it cannot be written, for example on a full disk. Older states are kept.
    """
    content = {
        "format": STATE_FORMAT,
        "preprocessing": preprocessing_id(image_size),
    } | {item.name: getattr(state, item.name) for item in fields(TrainingState)}
    path = run / FOLDER / _PATTERN.format(total_steps)
    write_checkpoint(path, content)
    for old in sorted(path.parent.glob(_PATTERN.replace("{:09d}", "*")))[:-keep]:
        old.unlink()


def load_state(run: Path, image_size: int) -> TrainingState | None:
    """The newest saved state of a run, on the CPU; None if there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another version, network or preprocessing. The file is not
                    changed.
    """
    paths = sorted((run / FOLDER).glob(_PATTERN.replace("{:09d}", "*")))
    if not paths:
        return None
    path = paths[-1]
    earlier = "the one before it" if len(paths) > 1 else "the start"
    hint = f"remove it to resume from {earlier}, or give a new --out"
    with reading(path, "a whole checkpoint of this run", hint):
        content = read_checkpoint(path)
        if (found := field(content, "format", str)) != STATE_FORMAT:
            raise ValueError(f"holds {short_repr(found)}, this version reads {STATE_FORMAT}")
        if (found := field(content, "preprocessing", str)) not in known_preprocessing(image_size):
            raise ValueError(
                f"trained on images preprocessed as {found}, this run prepares "
                f"{preprocessing_id(image_size)}"
            )
        with torch.device("meta"):  # parameters without values
            model = VAE(image_size)
        parameters = list(model.parameters())
        losses = {"losses": field(content, "losses", Tensor)}
        return TrainingState(
            epoch=integer(content, "epoch"),
            losses=checked_tensor(losses, "losses", torch.float32, (None, len(VaeLoss._fields))),
            best_ms_ssim=number(content, "best_ms_ssim"),
            model=check_weights(field(content, "model", dict), model.state_dict()),
            optimizer=check_adam(field(content, "optimizer", dict), parameters),
        )
