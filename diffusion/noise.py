"""Noise banks: every noise hangs on its own seed, so neither count nor batch changes a result."""

from collections.abc import Sequence

import torch
from torch import Tensor

SEEDS_PER_BANK = 1_000_000


def bank_seeds(bank: int, count: int, first: int = 0) -> range:
    """Seeds of the noises first, ..., first + count - 1 of a bank."""
    start = bank * SEEDS_PER_BANK + first
    return range(start, start + count)


def seeded_noise(seeds: Sequence[int], width: int) -> Tensor:
    """Standard normal rows, (len(seeds), width) float32, CPU; row i hangs on seeds[i] alone."""
    return _rows(_generators(seeds), width)


def walk_noise(seeds: Sequence[int], num_steps: int, width: int) -> tuple[Tensor, Tensor]:
    """``seeded_noise`` to start from, and noise of each step, (num_steps, B, width).

    Column i of the steps, too, hangs on seeds[i] alone.
    """
    generators = _generators(seeds)
    start = _rows(generators, width)
    return start, _rows(generators, num_steps, width).transpose(0, 1).contiguous()


def _generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _rows(generators: Sequence[torch.Generator], *shape: int) -> Tensor:
    return torch.stack([torch.randn(shape, generator=g) for g in generators])
