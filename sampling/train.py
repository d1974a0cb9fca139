"""Training of the noise estimator: [SCH] eq. 19 on noised latents, then calibration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from diffusion.denoisers import Estimate
from diffusion.grid import uniform_log_snr_grid
from diffusion.samplers import dpmpp_2m, sample
from diffusion.schedule import NoiseLevels
from experiment.device import has_fast_bf16
from experiment.progress import tqdm
from experiment.seeds import update_seed
from sampling.config import TrainConfig
from sampling.noise_estimator import NoiseEstimator
from vae.train import learning_rate

Estimator = Callable[[Tensor, Tensor, Tensor], Estimate]
"""(x_t (B, d), alpha (B, 1), sigma (B, 1)) -> Estimate."""

EVALUATION_DRAWS = 8  # noise levels per held-out latent
EVALUATION_SEED = 0


def noise_levels(schedule: NoiseLevels, device: torch.device) -> Tensor:
    """(alpha, sigma) of a schedule at t = 1..T, (T, 2): row t - 1 belongs to t."""
    levels = torch.stack([torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma)], 1)
    return levels[1:].float().to(device)


def eps_errors(estimate: Estimator, x_0: Tensor, levels: Tensor, eps: Tensor) -> Tensor:
    """|eps - eps_hat(alpha x_0 + sigma eps)|**2 of each row, (B,); [SCH] eq. 19.

    Args:
        levels: alpha and sigma of each row, (B, 2).
    """
    alpha, sigma = levels[:, :1], levels[:, 1:]
    return (eps - estimate(alpha * x_0 + sigma * eps, alpha, sigma).eps).square().sum(dim=1)


def train_updates(
    model: NoiseEstimator,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    latents: Tensor,
    levels: Tensor,
    updates: range,
    config: TrainConfig,
    bar: tqdm,
) -> Tensor:
    """Gradient steps, in place on ``model``, ``average`` and ``optimizer``.

    Args:
        levels: alpha and sigma of each noise level, (T, 2).

    Returns:
        The loss before each gradient step, (len(updates),), on the CPU.
    """
    device = latents.device
    fast = device.type == "cuda" and has_fast_bf16(device)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and fast)
    losses = []
    model.train()
    for update in updates:
        number = update_seed(config.seed, update)
        torch.manual_seed(number)  # dropout uses the global generator
        generator = torch.Generator(device).manual_seed(number)
        draw: dict[str, Any] = {"generator": generator, "device": device}
        x_0 = latents[torch.randint(len(latents), (config.batch_size,), **draw)]
        level = levels[torch.randint(len(levels), (config.batch_size,), **draw)]
        eps = torch.randn(x_0.shape, **draw)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(update, config.gradient_steps, config.lr)

        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = eps_errors(model, x_0, level, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_average(average, model, update, config.ema_decay)

        losses.append(loss.detach())
        bar.update()
    return torch.stack(losses).cpu()


@torch.no_grad()
def update_average(
    average: AveragedModel, model: NoiseEstimator, update: int, decay: float
) -> None:
    """average <- decay * average + (1 - decay) * model, in place; the first update is a copy.

    ``average.update_parameters`` computes the same, but reads its count back from the device and
    copies the buffers, so every update would wait. Buffers do not change in training.
    """
    averages: list[Tensor] = list(average.module.parameters())
    parameters: list[Tensor] = list(model.parameters())
    if update == 0:
        torch._foreach_copy_(averages, parameters)
    else:
        torch._foreach_lerp_(averages, parameters, 1.0 - decay)
    average.n_averaged += 1  # on the CPU; a checkpoint holds it


@torch.no_grad()
def held_out_losses(model: NoiseEstimator, latents: Tensor, levels: Tensor) -> dict[str, float]:
    """Mean loss on latents (N, d) and that of the Gaussian part alone, with the same noise.

    Args:
        levels: alpha and sigma of each noise level, (T, 2).
    """
    device = latents.device
    generator = torch.Generator(device).manual_seed(EVALUATION_SEED)
    draw: dict[str, Any] = {"generator": generator, "device": device}
    estimates: tuple[Estimator, ...] = (model, model.gaussian)
    totals = torch.zeros(2, device=device)
    model.eval()
    for _ in range(EVALUATION_DRAWS):
        level = levels[torch.randint(len(levels), (len(latents),), **draw)]
        eps = torch.randn(latents.shape, **draw)
        for i, estimate in enumerate(estimates):
            totals[i] += eps_errors(estimate, latents, level, eps).mean()
    network, gaussian = (totals / EVALUATION_DRAWS).tolist()
    return {"held_out_loss": network, "held_out_loss_gaussian": gaussian}


# Calibration: rounds, samples, sampler steps, largest and smallest sigma / alpha.
ROUNDS = 3

COUNT = 4_096
NUM_STEPS, Q_MAX, Q_MIN = 40, 20.0, 0.02


def calibration_range(schedule: NoiseLevels) -> tuple[float, float]:
    """Largest and smallest sigma / alpha of the calibration, not beyond those of the training.

    On the cosine schedule they are always 20 and 0.02.
    """
    if schedule.name == "cosine":
        return Q_MAX, Q_MIN
    with np.errstate(divide="ignore"):
        q = schedule.sigma[1:] / schedule.alpha[1:]
    return min(Q_MAX, float(q[-1])), max(Q_MIN, float(q[0]))


@torch.no_grad()
def calibrate(model: NoiseEstimator, seed: int, q_max: float = Q_MAX, q_min: float = Q_MIN) -> None:
    """Set ``centre`` and ``spread``, in place, so that samples have the data's mean and variances.

    After many passes over its latents, a network removes a little too much noise from new ones. So
    its samples are a few per cent too narrow. Samples of the flow are compared with samples of the
    Gaussian's flow, mu + U diag(sqrt(lam)) U^T x_T, from the same noise, for each direction:

        centre += mean of the difference,  spread *= ratio of the variances

    Args:
        q_max, q_min: Largest and smallest sigma / alpha of the flow.
    """
    generator = torch.Generator().manual_seed(seed)
    x_T = torch.randn(COUNT, len(model.mean), generator=generator).to(model.mean)
    goal = x_T @ model.basis * model.variances.sqrt()  # U^T (x_0 - mu), (COUNT, d)
    grid = uniform_log_snr_grid(NUM_STEPS, q_max, q_min)
    for _ in tqdm(range(ROUNDS), unit="round", desc="calibrate"):
        x_0 = torch.cat([sample(dpmpp_2m, model.denoise, grid, x) for x in x_T.split(512)])
        found = (x_0 - model.mean) @ model.basis
        model.centre += (goal - found).mean(dim=0) @ model.basis.T
        model.spread *= goal.var(dim=0) / found.var(dim=0)
