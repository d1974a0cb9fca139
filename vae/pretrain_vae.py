"""The job of pretraining: its inputs, its run folder, and how it begins, goes on and ends."""

import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray

from experiment.device import keep_freed_memory
from experiment.folder import open_run, read_run
from vae.cache import ImageSet, load_images
from vae.checkpoint import load_state
from vae.config import PretrainConfig
from vae.images import SPLITS, preprocessing_id
from vae.ms_ssim import scales_for
from vae.parallel import World, join_world
from vae.stop import TIME_IS_UP, Stop
from vae.train import convolves_in_bf16, train


def pretrain_vae(config: PretrainConfig) -> bool:
    """Train, validate, picture and record every epoch; go on where an earlier run stopped.

    Under ``torchrun`` all processes share the work, and the first writes.

    Returns:
        Whether all epochs are done and this process is the one that writes.

    Raises:
        ValueError: the data or the run folder will not do.
        FloatingPointError: the loss stopped being finite; what was saved before is kept.
        SystemExit: Ctrl-C (130) or SIGTERM (143) asked to stop, after the state was saved.
    """
    started = time.monotonic()
    keep_freed_memory()
    with join_world(config.device) as world:
        data = load_images(config.data, config.cache, config.image_size)
        training, validation = (_places(data, split) for split in ("train", "validation"))
        if not len(training) or not len(validation):
            raise ValueError(
                f"{len(training)} images to train on and {len(validation)} to validate: "
                "both are needed; give --data more images"
            )
        world.share(min(config.batch_size, len(training)))
        bf16 = convolves_in_bf16(config, world.device)
        if world.is_main:
            inputs = {"data": data.fingerprint}
            facts = _facts(config, world, bf16)
            if open_run(config.out, "pretrain_vae", config, inputs, str(world.device), facts):
                # A queue may go on with the run on another kind of processor.
                facts = read_run(config.out)["facts"]
                bf16 = facts["convolutions"] == "bf16"
            if data.unreadable:
                print(f"left out {data.unreadable} unreadable images, see {data.unreadable_list}")
            print(
                f"{len(training)} images to train on, {len(validation)} to validate, "
                f"on {world.size} x {world.device}, convolutions in {facts['convolutions']}"
            )
        bf16 = world.agree(bf16)
        saved = world.agree(load_state(config.out, config.image_size) if world.is_main else None)
        images = torch.from_numpy(data.images)
        rows, held_out = torch.from_numpy(training), torch.from_numpy(data.images[validation])
        with Stop(started, config.max_minutes, world.device) as stop:
            reason = train(config, world, bf16, saved, images, rows, held_out, stop)
        _take_leave(config, world, reason)
        return world.is_main and reason == 0


def _places(data: ImageSet, split: str) -> NDArray[np.int64]:
    return np.flatnonzero(data.splits == SPLITS.index(split))


def _facts(config: PretrainConfig, world: World, bf16: bool) -> dict[str, object]:
    """What follows from flags, machine and image size, for the record."""
    scales = scales_for(config.image_size)
    return {
        "preprocessing": preprocessing_id(config.image_size),
        "ms_ssim": {"window": scales.window, "weights": scales.weights},
        "convolutions": "bf16" if bf16 else "float32",
        "processes": world.size,
    }


def _take_leave(config: PretrainConfig, world: World, reason: int) -> None:
    """Say how to go on, where something asked to stop.

    Raises:
        SystemExit: a signal asked to stop.
    """
    if reason == TIME_IS_UP and world.is_main:
        print(f"{config.max_minutes:g} minutes are up: saved; the same command again goes on")
    if reason > TIME_IS_UP:
        if world.is_main:
            print("interrupted: saved; the same command again goes on from here", file=sys.stderr)
        raise SystemExit(128 + reason)
