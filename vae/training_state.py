"""The state of a pretraining between two steps, as files that are whole or absent."""

from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

from vae.data import preprocessing_id
from vae.files import read_checkpoint, write_checkpoint

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
    optimizer: dict[str, object]


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
        ValueError: it is damaged, or of another version or preprocessing; it is left alone.
    """
    paths = sorted((run / FOLDER).glob(_PATTERN.replace("{:09d}", "*")))
    if not paths:
        return None
    path = paths[-1]
    earlier = "the one before it" if len(paths) > 1 else "the start"
    content = read_checkpoint(path, f"remove it to go on from {earlier}")
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: holds {found}, this version reads {FORMAT}; use a new --out")
    if content["preprocessing"] != preprocessing_id(image_size):
        raise ValueError(
            f"{path}: trained on images preprocessed as {content['preprocessing']}, this run "
            f"prepares {preprocessing_id(image_size)}; use a new --out"
        )
    return TrainingState(**{item.name: content[item.name] for item in fields(TrainingState)})
