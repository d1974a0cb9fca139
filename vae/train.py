"""Pretraining: the loop over epochs, resumable at each, with the whole data set on the device."""

import json
import math
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from vae.cache import ImageSet, load_images
from vae.checkpoint import FILE_NAME, save_vae
from vae.config import PretrainConfig
from vae.data import IMAGE_SIZE
from vae.device import pick_device
from vae.evaluate import evaluate
from vae.files import write_atomically
from vae.loss import vae_loss
from vae.model import LATENT_DIM, VAE
from vae.pictures import picture_epoch
from vae.pixels import to_float
from vae.run_folder import open_run

WARMUP_SHARE = 0.05  # of all steps


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up times a cosine from ``peak`` to 0 over ``num_steps`` steps."""
    warmup = min(1.0, (step + 1) / (WARMUP_SHARE * num_steps))
    return peak * warmup * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


def training_batches(
    images: Tensor, batch_size: int, max_shift: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order, half of the images flipped, each with its posterior noise.

    Args:
        images: (N, 64, 64, 3) uint8 on the device.
        max_shift: Every image moves by up to so many pixels along both axes, edges repeated.
        generator: On the same device; decides order, flips, shifts and noise.

    Yields:
        Images (B, 3, 64, 64) in [0, 1] and ``eps`` (B, 128). The last, short batch is left out
        where there is another: batch norm is noisy on a few images.
    """
    device = images.device
    order = torch.randperm(len(images), generator=generator, device=device)
    size = min(batch_size, len(images))
    pixels = torch.arange(IMAGE_SIZE, device=device)
    for start in range(0, len(images) - size + 1, size):
        shift = torch.randint(
            -max_shift, max_shift + 1, (2, size, 1), generator=generator, device=device
        )
        rows, columns = (pixels + shift).clamp(0, IMAGE_SIZE - 1)  # (B, 64) each
        flip = torch.rand(size, 1, generator=generator, device=device) < 0.5
        columns = torch.where(flip, columns.flip(1), columns)
        chosen = order[start : start + size, None, None]
        eps = torch.randn(size, LATENT_DIM, generator=generator, device=device)
        yield to_float(images[chosen, rows[:, :, None], columns[:, None, :]]), eps


def train_epoch(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    epoch: int,
    config: PretrainConfig,
    bar: tqdm,
) -> Tensor:
    """One pass over ``images``, in place on ``model`` and ``optimizer``.

    Returns:
        Total loss, 1 - MS-SSIM and KL before every step, (steps, 3), on the CPU.
    """
    device = images.device
    bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    # The epoch's randomness hangs on seed and epoch alone, so a resumed run draws the same.
    generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + epoch)
    steps = max(1, len(images) // config.batch_size)
    losses = []
    model.train()
    batches = training_batches(images, config.batch_size, config.max_shift, generator)
    for step, (batch, eps) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, config.epochs * steps, config.lr)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            reconstruction, mu, log_var = model(batch, eps)
        loss = vae_loss(reconstruction.float(), batch, mu, log_var, config.beta)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(torch.stack(loss).detach())
        bar.update(len(batch))
    return torch.stack(losses).cpu()


def pretrain(config: PretrainConfig) -> None:
    """Train, evaluate, picture and save every epoch; go on where an earlier run stopped.

    Raises:
        ValueError: the data or the run folder will not do.
        FloatingPointError: the loss stopped being finite; the last whole epoch stays saved.
    """
    device = pick_device(config.device)
    data = load_images(config.data, config.cache)
    if data.unreadable:
        print(f"left out {data.unreadable} unreadable images, see {data.unreadable_list}")
    open_run(config.out, "pretrain_vae", config, {"data": data.fingerprint}, str(device))

    torch.manual_seed(config.seed)
    model = VAE().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0, fused=True)
    done = _resume(config.out, model, optimizer, device)

    training, validation = _to_device(data, device)
    print(f"{len(training)} images to train on, {len(validation)} to validate, on {device}")
    with tqdm(
        total=config.epochs * len(training), initial=done * len(training), unit="img", desc="train"
    ) as bar:
        for epoch in range(done, config.epochs):
            started = time.perf_counter()
            losses = train_epoch(model, optimizer, training, epoch, config, bar)
            bar.n = (epoch + 1) * len(training)
            seconds = time.perf_counter() - started
            quality = evaluate(model, validation)
            _refuse_non_finite(losses, quality, epoch)
            total, reconstruction, kl = losses.mean(dim=0).tolist()
            row = {
                "epoch": epoch + 1,
                "train_loss": total,
                "train_reconstruction": reconstruction,
                "train_kl": kl,
                "images_per_second": len(training) / seconds,
                **quality,
            }
            _append(config.out / "metrics.jsonl", row)
            picture_epoch(config.out / "pictures" / f"epoch_{epoch + 1:04d}.png", model, validation)
            _save(config.out, model, optimizer, epoch + 1)
            bar.set_postfix(ms_ssim=f"{row['ms_ssim']:.4f}", psnr=f"{row['psnr']:.2f}")
    print(f"weights: {config.out / FILE_NAME}")
    print(f"metrics: {config.out / 'metrics.jsonl'}, pictures: {config.out / 'pictures'}")


def _to_device(data: ImageSet, device: torch.device) -> tuple[Tensor, Tensor]:
    """Training and validation images as uint8 on the device."""
    training = torch.from_numpy(data.split("train")).to(device)
    validation = torch.from_numpy(data.split("validation")).to(device)
    if not len(training) or not len(validation):
        raise ValueError(
            f"{len(training)} images to train on and {len(validation)} to validate: "
            "both are needed; give --data more images"
        )
    return training, validation


def _refuse_non_finite(losses: Tensor, quality: dict[str, float], epoch: int) -> None:
    """Stop at the first step whose loss, or after the last step if the validation, is broken."""
    steps = len(losses)
    bad = (~losses.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if not bad and all(math.isfinite(value) for value in quality.values()):
        return
    step = bad[0] if bad else steps - 1
    total, reconstruction, kl = losses[step].tolist()
    raise FloatingPointError(
        f"epoch {epoch + 1}, batch {step + 1} of {steps} (step {epoch * steps + step + 1}): loss "
        f"{total}, 1 - MS-SSIM {reconstruction}, KL {kl}, validation MS-SSIM {quality['ms_ssim']}; "
        "what was saved before this epoch is kept: try a smaller --lr in a new --out"
    )


def _append(path: Path, row: dict[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _save(out: Path, model: VAE, optimizer: torch.optim.Optimizer, epochs_done: int) -> None:
    state = {
        "epochs_done": epochs_done,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_vae(out / FILE_NAME, model)
    write_atomically(out / "checkpoint.pt", lambda path: torch.save(state, path))


def _resume(out: Path, model: VAE, optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    """Load the last checkpoint in place, if any, and drop metrics written after it."""
    path, metrics = out / "checkpoint.pt", out / "metrics.jsonl"
    if not path.exists():
        metrics.unlink(missing_ok=True)
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = (str(error) or "empty").splitlines()[0]
        raise ValueError(
            f"{path}: not a whole checkpoint ({reason}); remove it to train from the start"
        ) from error
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    rows = metrics.read_text(encoding="utf-8").splitlines()[: state["epochs_done"]]
    metrics.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return state["epochs_done"]
