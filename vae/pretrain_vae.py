"""The command pretrain_vae: its inputs, its run folder, and how it starts, resumes and ends."""

import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray

from experiment.device import keep_freed_memory
from experiment.folder import open_run, read_run
from vae.cache import ADDED_INPUTS, ImageSet, load_images
from vae.checkpoint import load_state
from vae.config import PretrainConfig
from vae.images import SPLITS, preprocessing_id
from vae.ms_ssim import scales_for
from vae.parallel import World, join_world
from vae.stop import TIME_IS_UP, Stop
from vae.train import convolves_in_bf16, train


def pretrain_vae(config: PretrainConfig) -> bool:
    """Train, validate, draw and record every epoch, or resume an earlier run.

    Under ``torchrun`` all processes share the work, and the first one writes the files.

    Returns:
        Whether all epochs are done and this process writes the files.

    Raises:
        ValueError: the data or the run folder is not usable.
        FloatingPointError: the loss is not finite. Earlier checkpoints are kept.
        SystemExit: after Ctrl-C (130) or SIGTERM (143), once the state is saved.
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
            facts = _facts(config, world, bf16)
            opened = open_run(
                config.out,
                "pretrain_vae",
                config,
                data.inputs(),
                str(world.device),
                facts,
                added_later=ADDED_INPUTS,
            )
            if opened:
                # A job queue may resume the run on another kind of processor.
                facts = read_run(config.out)["facts"]
                bf16 = facts["convolutions"] == "bf16"
            if world.size > 1 and world.device.type == "cuda":
                share = min(config.batch_size, len(training)) // world.size
                few = "; below 128 a GPU waits for launches: give a larger --batch-size"
                print(f"{share} images per process and step{few if share < 128 else ''}")
            print(
                f"{len(training)} images to train on, {len(validation)} to validate, "
                f"on {world.size} x {world.device}, convolutions in {facts['convolutions']}"
                f"{data.describe_left_out()}"
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
    """Facts for the record that follow from flags, machine and image size."""
    scales = scales_for(config.image_size)
    return {
        "preprocessing": preprocessing_id(config.image_size),
        "ms_ssim": {"window": scales.window, "weights": scales.weights},
        "convolutions": "bf16" if bf16 else "float32",
        "processes": world.size,
    }


def _take_leave(config: PretrainConfig, world: World, reason: int) -> None:
    """Say how to resume if training was stopped.

    Raises:
        SystemExit: a signal stopped training.
    """
    if reason == TIME_IS_UP and world.is_main:
        print(f"{config.max_minutes:g} minutes are over: saved; the same command resumes the run")
    if reason > TIME_IS_UP:
        if world.is_main:
            print("interrupted: saved; the same command resumes the run", file=sys.stderr)
        raise SystemExit(128 + reason)
