"""Training of the noise estimator: [SCH] eq. 19 on noised latents."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from diffusion.denoisers import Estimate
from diffusion.noise_estimator import NoiseEstimator
from diffusion.schedule import cosine_schedule
from sampling.config import TrainConfig
from vae.train import learning_rate

Estimator = Callable[[Tensor, Tensor, Tensor], Estimate]
"""(x_t (B, d), alpha (B, 1), sigma (B, 1)) -> Estimate."""

EVALUATION_DRAWS = 8  # noise levels that each held-out latent is measured at
EVALUATION_SEED = 0


def noise_levels(num_levels: int, device: torch.device) -> Tensor:
    """(alpha, sigma) of the cosine schedule at t = 1..T, (T, 2): row t - 1 belongs to t."""
    schedule = cosine_schedule(num_levels)
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
    updates: range,
    config: TrainConfig,
    bar: tqdm,
) -> Tensor:
    """Gradient steps, in place on ``model``, ``average`` and ``optimizer``.

    Returns:
        The loss before each update, (len(updates),), on the CPU.
    """
    device = latents.device
    bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    levels = noise_levels(config.num_levels, device)
    losses = []
    model.train()
    for update in updates:
        # An update's randomness hangs on seed and number alone, so a resumed run draws the same.
        number = config.seed * 1_000_003 + update
        torch.manual_seed(number)  # dropout draws from the global generator
        generator = torch.Generator(device).manual_seed(number)
        draw: dict[str, Any] = {"generator": generator, "device": device}
        x_0 = latents[torch.randint(len(latents), (config.batch_size,), **draw)]
        level = levels[torch.randint(len(levels), (config.batch_size,), **draw)]
        eps = torch.randn(x_0.shape, **draw)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(update, config.num_updates, config.lr)

        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = eps_errors(model, x_0, level, eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)

        losses.append(loss.detach())
        bar.update()
    return torch.stack(losses).cpu()


@torch.no_grad()
def evaluate(model: NoiseEstimator, latents: Tensor, num_levels: int) -> dict[str, float]:
    """Mean loss on latents (N, d), the same noise at every call, and of the Gaussian part alone."""
    device = latents.device
    levels = noise_levels(num_levels, device)
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
