"""Train the teachers of the two-dimensional experiments."""

from collections.abc import Callable, Sequence

import torch

from diffusion.schedule import NoiseSchedule
from neural.data import BATCHES_PER_DRAW, Draw
from neural.networks import MLPs

LR = 2e-3


def train_teachers(
    teachers: MLPs,
    draw: Draw,
    schedule: NoiseSchedule,
    batch_size: int,
    updates: int,
    generators: Sequence[torch.Generator],
    on_update: Callable[[], object],
) -> None:
    """Train all members in place to estimate x_0 at the levels t = 1..T, equally often.

        loss = mean |xhat(x_t, t) - x_0|**2,  Adam from ``LR`` to 0 along a cosine

    Args:
        generators: One per member, for data, noise and levels.
    """
    optimizer = torch.optim.Adam(teachers.parameters(), lr=LR, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    alpha, sigma = (torch.from_numpy(part).float() for part in (schedule.alpha, schedule.sigma))
    for update in range(updates):
        place = update % BATCHES_PER_DRAW
        if place == 0:
            drawn = [_noised(draw, alpha, sigma, batch_size, generator) for generator in generators]
            x_0, x_t, levels = (
                torch.stack(parts).unflatten(1, (BATCHES_PER_DRAW, batch_size))
                for parts in zip(*drawn, strict=True)
            )
        t = levels[:, place]
        estimate = teachers(x_t[:, place], alpha[t], sigma[t])
        loss = (estimate - x_0[:, place]).square().sum(dim=2).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        on_update()


def _noised(
    draw: Draw,
    alpha: torch.Tensor,
    sigma: torch.Tensor,
    batch_size: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clean points (N, d), noised ones, and their levels t (N, 1), for a draw of batches."""
    count = BATCHES_PER_DRAW * batch_size
    x_0 = draw(generator, count)
    t = torch.randint(1, len(alpha), (count, 1), generator=generator)
    x_t = alpha[t] * x_0 + sigma[t] * torch.randn(x_0.shape, generator=generator)
    return x_0, x_t, t
