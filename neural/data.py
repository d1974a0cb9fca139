"""Data that teachers are trained on: two-dimensional mixtures, a Gaussian control, real latents."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Draw = Callable[[torch.Generator, int], Tensor]
"""(generator, N) -> clean points x_0, (N, d) float32."""

RING_COMPONENTS = 5
BATCHES_PER_DRAW = 32  # batches that are drawn at once; a part of what decides the numbers


def ring(variances: Sequence[float], separation: float) -> Draw:
    """Five equally likely Gaussians on an ellipse, with these variances of the whole mixture.

        x_0 = sqrt(lambda) (rho c_k + s eps),  c_k = (cos, sin)(2 pi k / 5),
        rho**2 / 2 + s**2 = 1,  rho / s = separation

    Args:
        variances: lambda of the two coordinates.
        separation: Radius of the ring over the standard deviation of a component, both before
            the coordinates are scaled to their variances.
    """
    spread = 1.0 / math.sqrt(1.0 + separation**2 / 2)
    radius = separation * spread
    scales = torch.tensor(variances).sqrt()
    angles = 2.0 * math.pi * torch.arange(RING_COMPONENTS) / RING_COMPONENTS
    centres = radius * torch.stack([angles.cos(), angles.sin()], dim=1)  # (5, 2)

    def draw(generator: torch.Generator, count: int) -> Tensor:
        component = torch.randint(RING_COMPONENTS, (count,), generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return scales * (centres[component] + spread * noise)

    return draw


def gaussian(variances: Sequence[float]) -> Draw:
    """Independent centred Gaussian coordinates, (d,) variances: the control without modes."""
    scales = torch.tensor(variances).sqrt()

    def draw(generator: torch.Generator, count: int) -> Tensor:
        return scales * torch.randn(count, len(scales), generator=generator)

    return draw


def rows_of(latents: Tensor) -> Draw:
    """Rows of encoded latents, (N, d), drawn with replacement."""

    def draw(generator: torch.Generator, count: int) -> Tensor:
        return latents[torch.randint(len(latents), (count,), generator=generator)]

    return draw


def noised_batches(
    draw: Draw,
    alpha: float,
    sigma: float,
    batch_size: int,
    generators: Sequence[torch.Generator],
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Endless batches of x_t = alpha x_0 + sigma eps, (R, B, d), row r from its own generator.

    Args:
        device: Where the batches go. They are drawn on the CPU, the same for every device.
    """
    count = BATCHES_PER_DRAW * batch_size
    while True:
        rows = []
        for generator in generators:
            x_0 = draw(generator, count)
            eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
            rows.append(alpha * x_0 + sigma * eps)
        drawn = torch.stack(rows).to(device)  # one copy for many gradient steps
        yield from drawn.unflatten(1, (BATCHES_PER_DRAW, batch_size)).unbind(1)
