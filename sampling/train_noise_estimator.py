"""The command train_noise_estimator: trains on encoded latents and can be resumed."""

import json
import math
import time
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from diffusion.covariance import eigenbasis
from diffusion.schedule_choice import choose_schedule, schedule_fingerprint
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.metrics import METRICS, diverged, keep_rows
from experiment.progress import tqdm
from experiment.read import field, integer, reading
from experiment.tensors import (
    check_adam,
    check_weights,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from experiment.track import open_tracker
from experiment.write import append_line
from sampling.config import TrainConfig
from sampling.estimator_file import (
    CHECKPOINT,
    ESTIMATOR_FILE,
    UNKNOWN_VAE,
    Trained,
    recorded_levels,
    save_estimator,
)
from sampling.inputs import split
from sampling.noise_estimator import SMALLEST_VARIANCE, NoiseEstimator
from sampling.train import (
    calibrate,
    calibration_range,
    held_out_losses,
    noise_levels,
    train_updates,
)
from vae.latents import MOST_FULL, Latents, latents_fingerprint, load_latents, moments

UPDATES_PER_SAVE = 250
LARGEST_VARIANCE = 1e6
"""Of latents that the estimator takes: beyond, no noise that it is trained on hides them."""
LEAST_RESOLVED = 0.01
"""Rounding of latents, relative to their deviation, that a training bears."""


def train_noise_estimator(config: TrainConfig) -> None:
    """Train; evaluate and save every ``UPDATES_PER_SAVE`` steps; write the weights at the end.

    The same call resumes an earlier run.

    Raises:
        FileNotFoundError, OSError, ValueError: the latents or the run folder are not usable.
        FloatingPointError: the loss is not finite. The earlier state is kept.
    """
    device = pick_device(config.device)
    latents = load_latents(config.latents, print, full=False)
    if len(latents.mean) > MOST_FULL:
        raise ValueError(
            f"{config.latents}: {len(latents.mean):,} coordinates; the noise estimator works in "
            f"the eigenbasis of their covariance, which is computed for at most {MOST_FULL:,}"
        )
    training, held_out = (part.to(device) for part in split(latents, config.latents))
    _refuse_scale(latents, config.latents)
    schedule = choose_schedule(config, config.num_levels, "--num-levels")
    levels = noise_levels(schedule, device)
    fingerprints = {"latents": latents_fingerprint(latents, config.latents)}
    fingerprints |= schedule_fingerprint(config)
    open_run(config.out, "train_noise_estimator", config, fingerprints, str(device))

    torch.manual_seed(config.seed)
    mean, covariance = moments(training.cpu())
    data = eigenbasis(mean.numpy(), covariance.numpy())
    model = NoiseEstimator(data, config.width, config.depth, config.dropout).to(device)
    average = AveragedModel(model)  # its tensors and their names; see update_average
    averaged = cast(NoiseEstimator, average.module)  # typed as any module
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    done = _resume(config, model, average, optimizer)

    print(f"{len(training)} latents to train on, {len(held_out)} held out, on {device}")
    with (
        open_tracker(config.track, config.out, config, done, "update") as show,
        tqdm(total=config.gradient_steps, initial=done, unit="update", desc="train") as bar,
    ):
        while done < config.gradient_steps:
            started = time.perf_counter()
            updates = range(done, min(done + UPDATES_PER_SAVE, config.gradient_steps))
            losses = train_updates(
                model, average, optimizer, training, levels, updates, config, bar
            )
            seconds = time.perf_counter() - started
            done = updates.stop
            if done == config.gradient_steps:
                calibrate(averaged.eval(), config.seed, *calibration_range(schedule))
            row = {
                "update": done,
                "train_loss": losses.mean().item(),
                **held_out_losses(averaged, held_out, levels),
                "updates_per_second": len(updates) / seconds,
            }
            _refuse_non_finite(losses, row)
            append_line(config.out / METRICS, json.dumps(row))
            show(row, done, None)
            _save(config.out, model, average, optimizer, done)
            bar.set_postfix(
                held_out=f"{row['held_out_loss']:.3f}",
                gaussian=f"{row['held_out_loss_gaussian']:.3f}",
            )
    trained = Trained(
        width=config.width,
        depth=config.depth,
        updates=done,
        latent_dim=training.shape[1],
        vae_sha256=latents.vae_sha256 or UNKNOWN_VAE,
        data_fingerprint=latents.data_fingerprint,
        **recorded_levels(schedule),
    )
    # Written only at the end: uncalibrated weights sample worse and look the same.
    save_estimator(config.out / ESTIMATOR_FILE, averaged, trained)


def _refuse_scale(latents: Latents, path: Path) -> None:
    """Refuse latents that are far from variance 1, or too far from 0 for float32 to resolve.

    Raises:
        ValueError: with the mend.
    """
    largest = float(latents.variances.max())
    if not SMALLEST_VARIANCE <= largest <= LARGEST_VARIANCE:
        raise ValueError(
            f"{path}: the largest variance is {largest:.3g}, and the noise estimator takes from "
            f"{SMALLEST_VARIANCE:g} to {LARGEST_VARIANCE:g}; multiply the latents by a number, so "
            "that variances are near 1"
        )
    mean, deviation = float(latents.mean.abs().max()), largest**0.5
    if mean * torch.finfo(torch.float32).eps > LEAST_RESOLVED * deviation:
        raise ValueError(
            f"{path}: the largest mean is {mean:.3g} and the largest deviation {deviation:.3g}, "
            "which float32 does not resolve; subtract the mean from the latents"
        )


def _refuse_non_finite(losses: Tensor, row: dict[str, float]) -> None:
    if losses.isfinite().all() and math.isfinite(row["held_out_loss"]):
        return
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    update = row["update"] - len(losses) + 1 + (bad[0] if bad else len(losses) - 1)
    raise diverged(f"update {update}", f"loss {row['train_loss']}, held out {row['held_out_loss']}")


def _save(
    out: Path,
    model: NoiseEstimator,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    done: int,
) -> None:
    state = {
        "updates_done": done,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    write_checkpoint(out / CHECKPOINT, state)


def _resume(
    config: TrainConfig,
    model: NoiseEstimator,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Load the last checkpoint in place, if any, and drop the metrics written after it."""
    path, metrics = config.out / CHECKPOINT, config.out / METRICS
    if not path.exists():
        metrics.unlink(missing_ok=True)
        return 0
    with reading(path, "a whole checkpoint of this run", "remove it to train from the start"):
        state = read_checkpoint(path)
        done = integer(state, "updates_done")
        if done > config.gradient_steps:
            raise ValueError(f"updates_done is {done}, this run has {config.gradient_steps}")
        weights = check_weights(field(state, "model", dict), model.state_dict())
        averages = check_weights(field(state, "average", dict), average.state_dict())
        gradients = check_adam(field(state, "optimizer", dict), list(model.parameters()))
    model.load_state_dict(weights)
    average.load_state_dict(averages)
    restore_optimizer(optimizer, gradients)
    keep_rows(metrics, "update", done)
    return done
