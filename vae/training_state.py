"""The state of a pretraining between two steps, as files that are whole or absent."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from reading.files import field, number, reading, shown, whole
from vae.data import preprocessing_id
from vae.loss import VaeLoss
from vae.model import VAE
from vae.tensors import pick, read_checkpoint, write_checkpoint
from vae.weights import check_adam, check_weights

FORMAT = "mergelab VAE training state, format 2"
FOLDER = "checkpoints"
_PATTERN = "step_{:09d}.pt"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """All that decides the further course, beside the config and the data."""

    epoch: int  # whole epochs done, validated and recorded
    losses: Tensor  # (steps done of the epoch after these, 4), on the CPU
    best_ms_ssim: float  # of the validations so far
    model: dict[str, Tensor]
    optimizer: dict[str, object]  # read back, its "state" alone: the flags decide the rest


def save_state(
    run: Path, total_steps: int, state: TrainingState, image_size: int, keep: int
) -> None:
    """Write ``checkpoints/step_*.pt``, then remove all but the newest ``keep``.

    Args:
        total_steps: Steps done since the start, which name the file.

    Raises:
        OSError: it cannot be written, as on a full disk; the older ones are left.
    """
    content = {
        "format": FORMAT,
        "preprocessing": preprocessing_id(image_size),
    } | {item.name: getattr(state, item.name) for item in fields(TrainingState)}
    path = run / FOLDER / _PATTERN.format(total_steps)
    write_checkpoint(path, content)
    for old in sorted(path.parent.glob(_PATTERN.replace("{:09d}", "*")))[:-keep]:
        old.unlink()


def load_state(run: Path, image_size: int) -> TrainingState | None:
    """The newest state of a run, on the CPU; None before the first was saved.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another version, network or preprocessing; it is left
            alone.
    """
    paths = sorted((run / FOLDER).glob(_PATTERN.replace("{:09d}", "*")))
    if not paths:
        return None
    path = paths[-1]
    earlier = "the one before it" if len(paths) > 1 else "the start"
    mend = f"remove it to go on from {earlier}, or give a new --out"
    with reading(path, "a whole checkpoint of this run", mend):
        content = read_checkpoint(path)
        if (found := field(content, "format", str)) != FORMAT:
            raise ValueError(f"holds {shown(found)}, this version reads {FORMAT}")
        if (found := field(content, "preprocessing", str)) != preprocessing_id(image_size):
            raise ValueError(
                f"trained on images preprocessed as {found}, this run prepares "
                f"{preprocessing_id(image_size)}"
            )
        with torch.device("meta"):  # names and shapes without values
            model = VAE(image_size)
        parameters = list(model.parameters())
        losses = {"losses": field(content, "losses", Tensor)}
        return TrainingState(
            epoch=whole(content, "epoch"),
            losses=pick(losses, "losses", torch.float32, (None, len(VaeLoss._fields))),
            best_ms_ssim=number(content, "best_ms_ssim"),
            model=check_weights(field(content, "model", dict), model.state_dict()),
            optimizer=check_adam(field(content, "optimizer", dict), parameters),
        )
