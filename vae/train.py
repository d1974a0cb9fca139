"""The training loop of the VAE: networks, gradient steps, epochs, validation, saved states."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiment.device import has_fast_bf16
from experiment.folder import FIGURES
from experiment.tensors import restore_optimizer
from vae.batches import augment, batch_source, draw, epoch_order
from vae.checkpoint import BEST_VAE_FILE, VAE_FILE, TrainingState, save_state, save_vae
from vae.config import PretrainConfig
from vae.evaluate import Quality, evaluate_vae, picture_epoch
from vae.loss import VaeLoss, vae_loss
from vae.model import VAE
from vae.parallel import World, distribute
from vae.record import Record
from vae.stop import Stop


@dataclass(frozen=True, eq=False)
class Job:
    """What a training works with; the networks and the optimizer change in place."""

    config: PretrainConfig
    world: World
    model: VAE
    network: nn.Module  # the model, or its wrapper that averages over processes
    optimizer: torch.optim.Optimizer
    loss: Callable[[nn.Module, Tensor, Tensor], VaeLoss]
    batches: Callable[[Tensor], Iterator[Tensor]]  # places (steps, B) -> uint8 images
    num_images: int


def convolves_in_bf16(config: PretrainConfig, device: torch.device) -> bool:
    """Whether convolutions run in bf16; the loss never does."""
    return config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(device))


def compiles(config: PretrainConfig, world: World) -> bool:
    """Whether forward pass and loss are compiled; untried with several processes."""
    one_gpu = world.size == 1 and world.device.type == "cuda"
    return config.compile == "on" or (config.compile == "auto" and one_gpu)


def prepare(
    config: PretrainConfig,
    world: World,
    bf16: bool,
    saved: TrainingState | None,
    images: Tensor,
    rows: Tensor,
) -> Job:
    """Networks and optimizer as they start, or as they were saved, and the way to batches.

    Args:
        images: uint8 (N, S, S, 3), memory-mapped.
        rows: Which of them are trained on, (n,).
    """
    torch.manual_seed(config.seed)
    model = VAE(config.image_size)
    if saved:
        model.load_state_dict(saved.model)
    model.to(world.device).to(memory_format=torch.channels_last)
    network = distribute(model, world)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0, fused=True)
    if saved:
        restore_optimizer(optimizer, saved.optimizer)
    loss: Callable[..., VaeLoss] = partial(loss_of_batch, beta=config.beta, l1=config.l1, bf16=bf16)
    if compiles(config, world):
        if shutil.which(os.environ.get("CXX", "c++")):
            torch._dynamo.config.suppress_errors = True  # what will not compile runs as written
            loss = torch.compile(loss)
        else:
            print("no C++ compiler here, so nothing is compiled: training runs, only slower")
    batches = batch_source(images, rows, world.device, config.images, world.size)
    return Job(config, world, model, network, optimizer, loss, batches, len(rows))


def loss_of_batch(
    network: nn.Module, images: Tensor, eps: Tensor, beta: float, l1: float, bf16: bool
) -> VaeLoss:
    """Forward pass in mixed precision, loss in float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        reconstruction, mu, log_var = network(images, eps)
    return vae_loss(reconstruction.float(), images, mu, log_var, beta, l1)


WARMUP_SHARE = 0.05  # of all steps


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up times a cosine from ``peak`` to 0 over ``num_steps`` steps."""
    warmup = min(1.0, (step + 1) / (WARMUP_SHARE * num_steps))
    return peak * warmup * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


def train_steps(job: Job, epoch: int, first: int) -> Iterator[Tensor]:
    """The steps ``first``, first + 1, ... of an epoch, in place on the job's networks.

    Yields:
        After every step the fields of ``VaeLoss`` before it, over the global batch, (4,), on the
        device.
    """
    config, world = job.config, job.world
    order = epoch_order(job.num_images, config.batch_size, config.seed, epoch)
    steps, size = order.shape
    own = world.share(size)
    job.network.train()
    for step, images in enumerate(job.batches(order[first:, own]), start=first):
        key = (config.seed, epoch, step)
        draws = draw(key, size, config.image_size, config.max_shift, world.device).part(own)
        for group in job.optimizer.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, config.epochs * steps, config.lr)
        loss = job.loss(job.network, augment(images, draws), draws.eps)
        job.optimizer.zero_grad()
        loss.total.backward()
        job.optimizer.step()
        yield world.mean(torch.stack(loss).detach())


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
    record = Record(config.out, first, config.track) if world.is_main else None
    size = min(config.batch_size, job.num_images)
    steps = job.num_images // size
    saver = _Saver(job, steps)
    with tqdm(
        total=config.epochs * steps * size,
        initial=(first * steps + len(losses)) * size,
        unit="img",
        desc="train",
        disable=not world.is_main,
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
        if self._job.world.is_main:
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
    quality = evaluate_vae(model, held_out)
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
    save_vae(config.out / VAE_FILE, model)
    if quality.ms_ssim > best:
        save_vae(config.out / BEST_VAE_FILE, model)
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
