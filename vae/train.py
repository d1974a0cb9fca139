"""The training loop of the VAE, from the networks as they start to the last saved state."""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import torch
from torch import Tensor, nn

from experiment.device import has_fast_bf16
from experiment.folder import FIGURES, add_facts
from experiment.metrics import METRICS, diverged, keep_rows
from experiment.progress import tqdm
from experiment.tensors import restore_optimizer
from experiment.track import Show, open_tracker
from experiment.write import append_line
from vae.batches import Draws, augment, batch_source, draw, epoch_order
from vae.checkpoint import BEST_VAE_FILE, VAE_FILE, TrainingState, save_state, save_vae
from vae.config import PretrainConfig
from vae.evaluate import Quality, evaluate_vae, picture_epoch
from vae.loss import VaeLoss, vae_loss
from vae.model import VAE
from vae.parallel import World, distribute
from vae.stop import Stop

DIMENSIONS = "latent_dimensions.jsonl"  # KL and variance of every latent coordinate, per epoch
NO_LOSSES = torch.zeros(0, len(VaeLoss._fields))
WARMUP_SHARE = 0.05  # of all gradient steps
WARM_UP_STEPS = 3  # of a compiled step: it compiles, records its CUDA graphs, and replays them

LossOfBatch = Callable[[nn.Module, Tensor, Tensor], VaeLoss]
"""(network, images (B, 3, S, S), noise of the posterior (B, 128)) -> loss."""
Batch = tuple[Tensor, Draws, float]
"""Images as bytes (B, S, S, 3), their randomness, and the learning rate of the gradient step."""


def train(
    config: PretrainConfig,
    world: World,
    bf16: bool,
    saved: TrainingState | None,
    images: Tensor,
    rows: Tensor,
    held_out: Tensor,
    stop: Stop,
) -> int:
    """Run all remaining epochs; each ends with validation, a picture and a record.

    Args:
        bf16: Whether convolutions run in bf16; the loss is float32 always.
        saved: The state of an earlier run, or None.
        images: uint8 (N, S, S, 3), memory-mapped.
        rows: Indices of the training images, (n,).
        held_out: Images to validate on, uint8 (m, S, S, 3).

    Returns:
        The reason why training stopped, from ``Stop.asked``; 0 if all epochs are done.

    Raises:
        FloatingPointError: the loss is not finite. Earlier checkpoints are kept.
    """
    model, network, optimizer = start_or_resume(config, world, saved)
    loss_of = loss_of_batch(config, bf16)
    if wants_compilation(config, world):
        compiled = compile_loss(loss_of, network, config, world, min(config.batch_size, len(rows)))
        if world.is_main:
            add_facts(config.out, {"compiled": compiled is not None})
        loss_of = compiled or loss_of
    source = batch_source(images, rows, world.device, config.images, world.size)
    first, losses, best = 0, NO_LOSSES, 0.0
    if saved:
        first, losses, best = saved.epoch, saved.losses, saved.best_ms_ssim
    size = min(config.batch_size, len(rows))
    steps = len(rows) // size
    last_saved = time.monotonic()
    if world.is_main:
        keep_records(config, first)
    track = config.track if world.is_main else "none"
    with (
        open_tracker(track, config.out, config, first, "epoch") as show,
        tqdm(
            total=config.epochs * steps * size,
            initial=(first * steps + len(losses)) * size,
            unit="img",
            desc="train",
            disable=not world.is_main,
        ) as bar,
    ):
        for epoch in range(first, config.epochs):
            started = time.perf_counter()
            # They stay on the device, because .item() would wait for it at every step.
            recent: list[Tensor] = []
            batches = epoch_batches(config, world, source, len(rows), epoch, len(losses))
            for loss in train_steps(network, optimizer, loss_of, batches, world):
                recent.append(loss)
                bar.update(size)
                reason = stop.asked(epoch * steps + len(losses) + len(recent))
                if reason or time.monotonic() - last_saved >= config.save_seconds:
                    so_far = join_losses(losses, recent, epoch)
                    state = TrainingState(
                        epoch, so_far, best, model.state_dict(), optimizer.state_dict()
                    )
                    save(config, world, state, steps)
                    last_saved = time.monotonic()
                if reason:
                    return reason
            taken, losses = len(recent), join_losses(losses, recent, epoch)  # waits for the device
            speed = taken * size / (time.perf_counter() - started)
            if world.is_main:
                quality = end_epoch(config, model, held_out, epoch, losses, speed, show)
                if quality.ms_ssim > best:
                    save_vae(config.out / BEST_VAE_FILE, model)
                best = max(best, quality.ms_ssim)
                bar.set_postfix(ms_ssim=f"{quality.ms_ssim:.4f}", psnr=f"{quality.psnr:.2f}")
            losses = NO_LOSSES
            reason = stop.asked(0)
            due = time.monotonic() - last_saved >= config.save_seconds
            if reason or due or epoch + 1 == config.epochs:
                state = TrainingState(
                    epoch + 1, losses, best, model.state_dict(), optimizer.state_dict()
                )
                save(config, world, state, steps)
                last_saved = time.monotonic()
            if reason:
                return reason
    return 0


def start_or_resume(
    config: PretrainConfig, world: World, saved: TrainingState | None
) -> tuple[VAE, nn.Module, torch.optim.Optimizer]:
    """The model, the network that trains it, and the optimizer: new, or from the saved state.

    The network is the model itself, or its wrapper that averages gradients over processes.
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
    return model, network, optimizer


def convolves_in_bf16(config: PretrainConfig, device: torch.device) -> bool:
    """Whether convolutions run in bf16; the loss never does."""
    return config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(device))


def loss_of_batch(config: PretrainConfig, bf16: bool) -> LossOfBatch:
    """Forward pass in mixed precision, and loss in float32."""

    def loss(network: nn.Module, images: Tensor, eps: Tensor) -> VaeLoss:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            reconstruction, mu, log_var = network(images, eps)
        return vae_loss(reconstruction.float(), images, mu, log_var, config.beta, config.l1)

    return loss


def wants_compilation(config: PretrainConfig, world: World) -> bool:
    """Whether gradient steps are to be compiled; ``auto`` compiles on CUDA."""
    return config.compile == "on" or (config.compile == "auto" and world.device.type == "cuda")


def compile_loss(
    loss_of: LossOfBatch, network: nn.Module, config: PretrainConfig, world: World, batch_size: int
) -> LossOfBatch | None:
    """The compiled loss, tried on black images with its gradient; None where compilation fails.

    On one CUDA device a compiled step is replayed as CUDA graphs: at the usual batch size its
    launches take longer than its work. The network is left as it was.

    Raises:
        ValueError: compilation fails in one of several processes, which then wait for each other.
    """
    if world.is_main:
        print("compiling the gradient step; the first time this takes minutes")
    # Inductor advises TF32; gradient steps have no float32 matrix products worth it.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    graphs = world.size == 1 and world.device.type == "cuda"
    compiled = torch.compile(loss_of, mode="reduce-overhead" if graphs else None)

    def take(network: nn.Module, images: Tensor, eps: Tensor) -> VaeLoss:
        network.zero_grad()  # replayed graphs write the new gradients where these were
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        loss: VaeLoss = compiled(network, images, eps)
        return loss

    own, size = world.share(batch_size), config.image_size
    draws = draw((config.seed, 0, 0), batch_size, size, 0, world.device).part(own)
    black = torch.zeros(len(draws.eps), size, size, 3, dtype=torch.uint8, device=world.device)
    before = [buffer.clone() for buffer in network.buffers()]
    network.train()
    try:
        for _ in range(WARM_UP_STEPS):
            take(network, augment(black, draws), draws.eps).total.backward()
    except Exception as error:  # compilers fail in many ways: no C compiler, no headers, old GPUs
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if world.size > 1:
            raise ValueError(f"--compile {config.compile}: {reason}; give --compile off") from error
        print(f"not compiled, so training is slower: {reason}")
        return None
    finally:
        network.zero_grad()
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)
    return take


def epoch_batches(
    config: PretrainConfig,
    world: World,
    source: Callable[[Tensor], Iterator[Tensor]],
    num_images: int,
    epoch: int,
    first: int,
) -> Iterator[Batch]:
    """The batches ``first``, first + 1, ... of an epoch: the share of this process.

    Args:
        source: The function of ``batch_source``: indices (steps, B) -> images.
        num_images: Number of training images.
    """
    order = epoch_order(num_images, config.batch_size, config.seed, epoch)
    steps, size = order.shape
    own = world.share(size)
    for step, images in enumerate(source(order[first:, own]), start=first):
        key = (config.seed, epoch, step)
        draws = draw(key, size, config.image_size, config.max_shift, world.device).part(own)
        rate = learning_rate(epoch * steps + step, config.epochs * steps, config.lr)
        yield images, draws, rate


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up times a cosine from ``peak`` to 0 over ``num_steps`` steps."""
    warmup = min(1.0, (step + 1) / (WARMUP_SHARE * num_steps))
    return peak * warmup * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


def train_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: LossOfBatch,
    batches: Iterable[Batch],
    world: World,
) -> Iterator[Tensor]:
    """One gradient step per batch, in place on the network.

    Yields:
        After each gradient step, the fields of ``VaeLoss`` computed before the update and averaged
        over the global batch, (4,), on the device.
    """
    network.train()
    for images, draws, rate in batches:
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(network, augment(images, draws), draws.eps)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        yield world.mean(torch.stack(loss).detach())


def join_losses(earlier: Tensor, recent: list[Tensor], epoch: int) -> Tensor:
    """The losses of an epoch so far, (steps, 4) on the CPU; refuses one that is not finite."""
    losses = torch.cat([earlier, torch.stack(recent).cpu()]) if recent else earlier
    bad = (~losses.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise_diverged(losses, epoch, bad[0], "not finite")
    return losses


def raise_diverged(losses: Tensor, epoch: int, step: int, why: str) -> NoReturn:
    """Stop training at a step whose loss or result is not finite."""
    total, reconstruction, kl, _ = losses[step].tolist()
    batch = range(len(losses))[step] + 1
    raise diverged(
        f"epoch {epoch + 1}, batch {batch}",
        f"loss {total}, 1 - MS-SSIM {reconstruction}, KL {kl}, {why}",
    )


def save(config: PretrainConfig, world: World, state: TrainingState, steps: int) -> None:
    """Let the main process write the state.

    Args:
        steps: Gradient steps of an epoch.
    """
    if world.is_main:
        done = state.epoch * steps + len(state.losses)
        save_state(config.out, done, state, config.image_size, config.keep)


def keep_records(config: PretrainConfig, epochs_done: int) -> None:
    """Drop the rows of epochs that were recorded but not saved before the run was cut off.

    Raises:
        OSError, ValueError: a record is damaged.
    """
    for name in (METRICS, DIMENSIONS):
        keep_rows(config.out / name, "epoch", epochs_done)


def end_epoch(
    config: PretrainConfig,
    model: VAE,
    held_out: Tensor,
    epoch: int,
    losses: Tensor,
    speed: float,
    show: Show,
) -> Quality:
    """Validate the model, draw its picture, record the epoch, and write the weights.

    Args:
        losses: Of all gradient steps of the epoch, (steps, 4).
        speed: Images per second.

    Raises:
        FloatingPointError: the validation is not finite. Nothing is recorded.
    """
    quality = evaluate_vae(model, held_out)
    if not math.isfinite(quality.ms_ssim):
        raise_diverged(losses, epoch, -1, f"validation MS-SSIM {quality.ms_ssim}")
    picture = config.out / FIGURES / f"epoch_{epoch + 1:04d}.png"
    picture_epoch(picture, model, held_out, f"epoch {epoch + 1}, held-out photographs")
    row = epoch_row(config, epoch, losses, speed, quality)
    dimensions = {
        "epoch": row["epoch"],
        "kl_per_dimension": rounded(quality.kl_per_dimension),
        "variances": rounded(quality.covariance.diagonal()),
    }
    append_line(config.out / METRICS, json.dumps(row))
    append_line(config.out / DIMENSIONS, json.dumps(dimensions))
    show(row, epoch + 1, picture)
    save_vae(config.out / VAE_FILE, model)
    return quality


def epoch_row(
    config: PretrainConfig, epoch: int, losses: Tensor, speed: float, quality: Quality
) -> dict[str, float]:
    """The row of ``metrics.jsonl`` for an epoch."""
    total, reconstruction, kl, l1 = losses.mean(dim=0).tolist()
    return {
        "epoch": epoch + 1,
        "train_loss": total,
        "train_reconstruction": reconstruction,
        "train_kl": kl,
        **({"train_l1": l1} if config.l1 else {}),
        "images_per_second": speed,
        **quality.row(),
    }


def rounded(values: Tensor) -> list[float]:
    """Six digits of each value."""
    return [float(f"{value:.6g}") for value in values.tolist()]
