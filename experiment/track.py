"""What the flag --track does: show a training in TensorBoard or in Weights & Biases.

Both are extras. Results never depend on them: what they show is in the run folder too. By default
nothing leaves the machine, because wandb is started offline unless WANDB_MODE says otherwise.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiment.write import as_recorded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # exists for type checkers alone

PICTURE = "reconstructions"  # what a VAE shows
Track = Literal["none", "tensorboard", "wandb"]
Show = Callable[[Mapping[str, float], int, Path | None], object]
"""Called with numbers, their place on the horizontal axis, and perhaps a picture."""


def refuse_missing_package(track: Track) -> None:
    """Refuse a way to show a training whose package is not installed.

    Raises:
        ValueError: names the extra that installs it.
    """
    if track != "none" and find_spec(track) is None:
        raise ValueError(f"--track {track}: not installed here; pip install '.[{track}]'")


@contextmanager
def open_tracker(
    track: Track, run: Path, config: "DataclassInstance", done: int, axis: str
) -> Iterator[Show]:
    """Show a training until the block ends; one that was interrupted goes on after ``done``.

    TensorBoard hides what an interrupted run has shown after that place. Offline, wandb begins
    another run of the same name.

    Args:
        run: The run folder; the files lie below its ``tensorboard/`` or ``wandb/``.
        axis: What the horizontal axis counts, such as epochs.
    """
    show: Show = lambda row, place, picture: None  # noqa: E731  (of the track none)
    close: Callable[[], object] = lambda: None  # noqa: E731
    if track == "tensorboard":
        show, close = _tensorboard(run, done)
    elif track == "wandb":
        show, close = _wandb(run, config, axis)
    try:
        yield show
    finally:
        close()


def _tensorboard(run: Path, done: int) -> tuple[Show, Callable[[], object]]:
    import numpy as np  # none of these is needed without the flag, or to show --help
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(run / "tensorboard", purge_step=done + 1)

    def show(row: Mapping[str, float], place: int, picture: Path | None) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, place)
        if picture is not None:
            pixels = np.asarray(Image.open(picture))
            writer.add_image(PICTURE, pixels, place, dataformats="HWC")
        writer.flush()

    return show, writer.close


def _wandb(run: Path, config: "DataclassInstance", axis: str) -> tuple[Show, Callable[[], object]]:
    import wandb

    opened: Any = wandb.init(
        project="mergelab",
        name=run.name,
        dir=run,
        config={name: _plain(value) for name, value in as_recorded(config).items()},
        mode=os.environ.get("WANDB_MODE", "offline"),
        # Only numbers and pictures: no code, no terminal, no facts about the machine.
        settings=wandb.Settings(
            console="off", disable_code=True, disable_git=True, x_disable_stats=True, silent=True
        ),
    )
    opened.define_metric("*", step_metric=axis)

    def show(row: Mapping[str, float], place: int, picture: Path | None) -> None:
        image = {} if picture is None else {PICTURE: wandb.Image(str(picture))}
        opened.log({**row, axis: place, **image})

    return show, opened.finish


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
