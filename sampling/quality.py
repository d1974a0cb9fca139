"""Are sampled latents nearer to held-out ones than draws from the fitted Gaussian are?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.noise_estimator import NoiseEstimator
from sampling.wasserstein import random_directions, sliced_w2_squared

RESAMPLES = 100
NUM_DIRECTIONS = 100


@dataclass(frozen=True)
class Margin:
    """Sliced W2**2 to the held-out latents, of a reference and of the samples."""

    reference: float
    samples: float
    low: float  # reference - samples: 2.5 % and 97.5 % quantiles over resampled held-out latents
    high: float


def margin(
    samples: Tensor,
    reference: Tensor,
    held_out: Tensor,
    draw_directions: Callable[[int], Tensor],
    seed: int,
    num_resamples: int = RESAMPLES,
) -> Margin:
    """Sliced W2**2 of both clouds, and a bootstrap of its difference over the held-out latents.

    Both clouds see the same directions and the same resamples, so what these share cancels.

    Args:
        samples, reference, held_out: (N, d), (N, d), (M, d); N alike, as sampling noise adds to W2.
        draw_directions: Number of a resample -> directions, (d, P); 0 is for the held-out latents
            themselves.
    """

    def both(others: Tensor, number: int) -> list[float]:
        directions = draw_directions(number)
        clouds = (reference, samples)
        return [sliced_w2_squared(cloud, others, directions).mean().item() for cloud in clouds]

    generator = torch.Generator().manual_seed(seed)
    differences = []
    for resample in range(1, num_resamples + 1):
        chosen = torch.randint(len(held_out), (len(held_out),), generator=generator)
        theirs, ours = both(held_out[chosen], resample)
        differences.append(theirs - ours)
    low, high = torch.tensor(differences).quantile(torch.tensor([0.025, 0.975])).tolist()
    theirs, ours = both(held_out, 0)
    return Margin(theirs, ours, low, high)


def margins(
    estimator: NoiseEstimator, samples: Tensor, reference: Tensor, held_out: Tensor, seed: int
) -> dict[str, Margin]:
    """Margins along two kinds of directions.

    Random ones, where sums of many coordinates look Gaussian whatever the latents are; and the
    principal directions of the training latents, scaled to unit variance.
    """
    dim = held_out.shape[1]
    principal = (estimator.basis / estimator.variances.sqrt()).cpu()
    kinds = {
        "random directions": lambda number: random_directions(
            NUM_DIRECTIONS, dim, seed * 1_000 + number
        ),
        "principal directions": lambda _: principal,
    }
    return {name: margin(samples, reference, held_out, draw, seed) for name, draw in kinds.items()}
