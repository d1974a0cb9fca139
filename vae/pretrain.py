"""The job of pretraining: epochs, validation, records; cut off at any moment, it goes on."""

import math
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from vae.cache import ImageSet, load_images
from vae.checkpoint import BEST_NAME, FILE_NAME, save_vae
from vae.config import PretrainConfig
from vae.data import SPLITS, preprocessing_id
from vae.evaluate import evaluate
from vae.job import Job, convolves_in_bf16, prepare
from vae.loss import VaeLoss
from vae.memory import keep_freed_memory
from vae.parallel import World, join_world
from vae.pictures import picture_epoch
from vae.record import Record
from vae.run_folder import FIGURES, open_run, read_run
from vae.ssim import scales_for
from vae.stop import TIME_IS_UP, Stop
from vae.train import train_steps
from vae.training_state import TrainingState, load_state, save_state

NO_LOSSES = torch.zeros(0, len(VaeLoss._fields))


def pretrain(config: PretrainConfig) -> bool:
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
        if world.leads:
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
        saved = world.agree(load_state(config.out, config.image_size) if world.leads else None)
        images = torch.from_numpy(data.images)
        job = prepare(config, world, bf16, saved, images, torch.from_numpy(training))
        held_out = torch.from_numpy(data.images[validation])
        with Stop(started, config.max_minutes, world.device) as stop:
            reason = _train(job, saved, held_out, stop)
        _take_leave(config, world, reason)
        return world.leads and reason == 0


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


def _train(job: Job, saved: TrainingState | None, held_out: Tensor, stop: Stop) -> int:
    """All epochs that are still to do; returns why it stopped, 0 if all are done."""
    config, world = job.config, job.world
    first, losses, best = 0, NO_LOSSES, 0.0
    if saved:
        first, losses, best = saved.epoch, saved.losses, saved.best_ms_ssim
    record = Record(config.out, first, config.track) if world.leads else None
    size = min(config.batch_size, job.num_images)
    steps = job.num_images // size
    last_saved = time.monotonic()

    def due() -> bool:
        return time.monotonic() - last_saved >= config.save_seconds

    def save(epoch: int, losses: Tensor) -> None:
        nonlocal last_saved
        if world.leads:
            _save(job, epoch, losses, best, epoch * steps + len(losses))
        last_saved = time.monotonic()

    with tqdm(
        total=config.epochs * steps * size,
        initial=(first * steps + len(losses)) * size,
        unit="img",
        desc="train",
        disable=not world.leads,
    ) as bar:
        for epoch in range(first, config.epochs):
            started, earlier = time.perf_counter(), losses
            recent: list[Tensor] = []  # on the device: .item() would stall it at every step
            for loss in train_steps(job, epoch, len(earlier)):
                recent.append(loss)
                bar.update(size)
                reason = stop.asked(epoch * steps + len(earlier) + len(recent))
                if reason or due():
                    losses = torch.cat([earlier, torch.stack(recent).cpu()])
                    _refuse_non_finite(losses, epoch)
                    save(epoch, losses)
                if reason:
                    return reason
            if recent:
                losses = torch.cat([earlier, torch.stack(recent).cpu()])
            speed = len(recent) * size / (time.perf_counter() - started)
            _refuse_non_finite(losses, epoch)
            if record:
                best = _close_epoch(job, record, epoch, losses, speed, held_out, best, bar)
            losses = NO_LOSSES
            reason = stop.asked(0)
            if reason or due() or epoch + 1 == config.epochs:
                save(epoch + 1, losses)
            if reason:
                return reason
    return 0


def _close_epoch(
    job: Job,
    record: Record,
    epoch: int,
    losses: Tensor,
    speed: float,
    held_out: Tensor,
    best: float,
    bar: tqdm,
) -> float:
    """Validate, picture, record, write the weights; returns the best MS-SSIM so far."""
    config, model = job.config, job.model
    quality = evaluate(model, held_out)
    if not math.isfinite(quality.ms_ssim):
        _refuse_step(losses, epoch, len(losses) - 1, f"validation MS-SSIM {quality.ms_ssim}")
    total, reconstruction, kl, l1 = losses.mean(dim=0).tolist()
    row = {
        "epoch": epoch + 1,
        "train_loss": total,
        "train_reconstruction": reconstruction,
        "train_kl": kl,
        **({"train_l1": l1} if config.l1 else {}),
        "images_per_second": speed,
        **quality.row(),
    }
    picture = config.out / FIGURES / f"epoch_{epoch + 1:04d}.png"
    picture_epoch(picture, model, held_out)
    record.epoch(row, quality, picture)
    save_vae(config.out / FILE_NAME, model)
    if quality.ms_ssim > best:
        save_vae(config.out / BEST_NAME, model)
    bar.set_postfix(ms_ssim=f"{quality.ms_ssim:.4f}", psnr=f"{quality.psnr:.2f}")
    return max(best, quality.ms_ssim)


def _save(job: Job, epoch: int, losses: Tensor, best: float, total_steps: int) -> None:
    """Write the state between two steps."""
    model, optimizer = job.model.state_dict(), job.optimizer.state_dict()
    state = TrainingState(epoch, losses, best, model, optimizer)
    save_state(job.config.out, total_steps, state, job.config.image_size, job.config.keep)


def _refuse_non_finite(losses: Tensor, epoch: int) -> None:
    """Stop at the first step whose loss is broken."""
    bad = (~losses.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        _refuse_step(losses, epoch, bad[0], "not finite")


def _refuse_step(losses: Tensor, epoch: int, step: int, why: str) -> None:
    total, reconstruction, kl, _ = losses[step].tolist()
    raise FloatingPointError(
        f"epoch {epoch + 1}, batch {step + 1}: loss {total}, 1 - MS-SSIM {reconstruction}, KL "
        f"{kl}, {why}; what was saved before is kept: try a smaller --lr in a new --out"
    )


def _take_leave(config: PretrainConfig, world: World, reason: int) -> None:
    """Say how to go on, where something asked to stop.

    Raises:
        SystemExit: a signal asked to stop.
    """
    if reason == TIME_IS_UP and world.leads:
        print(f"{config.max_minutes:g} minutes are up: saved; the same command again goes on")
    if reason > TIME_IS_UP:
        if world.leads:
            print("interrupted: saved; the same command again goes on from here", file=sys.stderr)
        raise SystemExit(128 + reason)
