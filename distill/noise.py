"""The noise bank: the same initial noise for every strategy and for the teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor


def seeded_noise(seeds: Sequence[int], latent_dim: int) -> Tensor:
    """Standard normal rows, (len(seeds), latent_dim), CPU; row i depends on seeds[i] alone."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(latent_dim, generator=g) for g in generators])
