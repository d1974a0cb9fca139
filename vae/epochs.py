"""The epochs of a pretraining: steps, validation, records, and a saved state when it is due."""

import math
import time

import torch
from torch import Tensor
from tqdm import tqdm

from vae.checkpoint import BEST_NAME, FILE_NAME, save_vae
from vae.evaluate import Quality, evaluate
from vae.job import Job
from vae.loss import VaeLoss
from vae.pictures import picture_epoch
from vae.record import Record
from vae.run_folder import FIGURES
from vae.stop import Stop
from vae.train import train_steps
from vae.training_state import TrainingState, save_state

NO_LOSSES = torch.zeros(0, len(VaeLoss._fields))


def train_epochs(job: Job, saved: TrainingState | None, held_out: Tensor, stop: Stop) -> int:
    """All epochs that are still to do, in place on the job's networks and optimizer.

    Args:
        saved: Where an earlier run stopped.
        held_out: Images to validate on, uint8 (n, S, S, 3).

    Returns:
        Why it stopped, as ``Stop.asked`` says; 0 if all are done.

    Raises:
        FloatingPointError: the loss stopped being finite; what was saved before is kept.
    """
    config, world = job.config, job.world
    first, losses, best = 0, NO_LOSSES, 0.0
    if saved:
        first, losses, best = saved.epoch, saved.losses, saved.best_ms_ssim
    record = Record(config.out, first, config.track) if world.leads else None
    size = min(config.batch_size, job.num_images)
    steps = job.num_images // size
    saver = _Saver(job, steps)
    with tqdm(
        total=config.epochs * steps * size,
        initial=(first * steps + len(losses)) * size,
        unit="img",
        desc="train",
        disable=not world.leads,
    ) as bar:
        for epoch in range(first, config.epochs):
            started = time.perf_counter()
            recent: list[Tensor] = []  # on the device: .item() would stall it at every step
            for loss in train_steps(job, epoch, len(losses)):
                recent.append(loss)
                bar.update(size)
                reason = stop.asked(epoch * steps + len(losses) + len(recent))
                if reason or saver.due():
                    saver.save(epoch, _joined(losses, recent, epoch), best)
                if reason:
                    return reason
            speed = len(recent) * size / (time.perf_counter() - started)
            losses = _joined(losses, recent, epoch)
            if record:
                quality = _close_epoch(job, record, epoch, losses, speed, held_out, best)
                best = max(best, quality.ms_ssim)
                bar.set_postfix(ms_ssim=f"{quality.ms_ssim:.4f}", psnr=f"{quality.psnr:.2f}")
            losses = NO_LOSSES
            reason = stop.asked(0)
            if reason or saver.due() or epoch + 1 == config.epochs:
                saver.save(epoch + 1, losses, best)
            if reason:
                return reason
    return 0


class _Saver:
    """Writes the state between two steps; of several processes the one that leads does."""

    def __init__(self, job: Job, steps_per_epoch: int) -> None:
        self._job = job
        self._steps_per_epoch = steps_per_epoch
        self._last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._job.config.save_seconds

    def save(self, epoch: int, losses: Tensor, best: float) -> None:
        config = self._job.config
        if self._job.world.leads:
            model, optimizer = self._job.model.state_dict(), self._job.optimizer.state_dict()
            state = TrainingState(epoch, losses, best, model, optimizer)
            total_steps = epoch * self._steps_per_epoch + len(losses)
            save_state(config.out, total_steps, state, config.image_size, config.keep)
        self._last = time.monotonic()


def _close_epoch(
    job: Job,
    record: Record,
    epoch: int,
    losses: Tensor,
    speed: float,
    held_out: Tensor,
    best: float,
) -> Quality:
    """Validate, picture, record, write the weights."""
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
    return quality


def _joined(earlier: Tensor, recent: list[Tensor], epoch: int) -> Tensor:
    """The losses of an epoch so far, (steps, 4) on the CPU; refuses one that is not finite."""
    losses = torch.cat([earlier, torch.stack(recent).cpu()]) if recent else earlier
    bad = (~losses.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        _refuse_step(losses, epoch, bad[0], "not finite")
    return losses


def _refuse_step(losses: Tensor, epoch: int, step: int, why: str) -> None:
    total, reconstruction, kl, _ = losses[step].tolist()
    raise FloatingPointError(
        f"epoch {epoch + 1}, batch {step + 1}: loss {total}, 1 - MS-SSIM {reconstruction}, KL "
        f"{kl}, {why}; what was saved before is kept: try a smaller --lr in a new --out"
    )
