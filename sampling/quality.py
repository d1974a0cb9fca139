"""Are sampled latents better than draws from the fitted Gaussian? Sliced W2 with intervals."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sampling.wasserstein import random_directions, sliced_w2_squared

RESAMPLES = 100
NUM_DIRECTIONS = 100


@dataclass(frozen=True)
class Margin:
    """Sliced W2**2 to the held-out latents: a reference's minus the samples'; above 0 is better."""

    mean: float
    low: float  # 2.5 % and 97.5 % quantiles over resampled held-out latents and directions
    high: float


def margin(
    samples: Tensor, reference: Tensor, held_out: Tensor, seed: int, num_resamples: int = RESAMPLES
) -> Margin:
    """Bootstrap over the held-out latents, each resample along directions of its own.

    Both clouds see the same resample and directions, so what these have in common cancels.

    Args:
        samples, reference, held_out: (N, d), (N', d), (M, d).
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for resample in range(num_resamples):
        chosen = held_out[torch.randint(len(held_out), (len(held_out),), generator=generator)]
        directions = random_directions(
            NUM_DIRECTIONS, held_out.shape[1], seed * num_resamples + resample
        )
        ours, theirs = (
            sliced_w2_squared(cloud, chosen, directions).mean() for cloud in (samples, reference)
        )
        found.append(theirs - ours)
    differences = torch.stack(found)
    low, high = differences.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Margin(differences.mean().item(), low, high)
