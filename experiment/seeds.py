"""The one home of randomness: generators and noise banks, each a function of its key alone.

A generator depends only on its key, (seed, purpose, time, ...), so neither the order of the work,
nor a resumed run, nor the batch size changes a result.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

SEEDS_PER_BANK = 1_000_000
_BEYOND = (
    1 << 120
)  # seeds of the noises beyond the first million of their bank; Philox has 128 bits


def keyed_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose numbers depend only on ``key`` and on the kind of device.

    The key is hashed to 64 bits by NumPy's ``SeedSequence``.
    """
    return torch.Generator(device).manual_seed(_hashed(key))


def student_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of 63 bits of the hash: the stream of the students' training batches.

    The results in this repository used this stream, and the embedded VAE was trained with
    ``keyed_generator``. Both are kept, so that the results can be repeated.
    """
    return torch.Generator(device).manual_seed(_hashed(key) >> 1)


def update_seed(seed: int, update: int) -> int:
    """Seed of one gradient step of the noise estimator, so that a resumed run draws the same."""
    return seed * 1_000_003 + update


def problem_seed(seed: int, num_steps: int) -> int:
    """One seed per number of teacher steps T, independent of other T in the run."""
    return int(np.random.SeedSequence([seed, num_steps]).generate_state(1)[0])


def _hashed(key: tuple[int, ...]) -> int:
    (state,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return int(state)


def bank_seeds(bank: int, count: int, first: int = 0) -> Sequence[int]:
    """Seeds of the noises first, ..., first + count - 1 of a noise bank.

    A noise bank is a numbered sequence of initial noises, one seed each.

    The first million of a bank are ``bank * 1_000_000 + i``, as in version 0.1.0. Noise beyond
    the first million has a seed that no other bank has.
    """
    places = range(first, first + count)
    if places.stop <= SEEDS_PER_BANK:
        start = bank * SEEDS_PER_BANK
        return range(start + places.start, start + places.stop)
    return [
        bank * SEEDS_PER_BANK + i if i < SEEDS_PER_BANK else _BEYOND + (bank << 64) + i
        for i in places
    ]


def seeded_noise(seeds: Sequence[int], width: int) -> Tensor:
    """Standard normal rows, (len(seeds), width) float32, CPU; row i depends on seeds[i] alone."""
    return torch.stack([normal(width) for normal in map(_normal, seeds)])


def walk_noise(seeds: Sequence[int], num_steps: int, width: int) -> tuple[Tensor, Tensor]:
    """Initial noise (B, width) as by ``seeded_noise``, and each step's noise (num_steps, B, width).

    The noise of the steps, ``steps[:, i]``, depends on seeds[i] alone.
    """
    sources = [_normal(seed) for seed in seeds]
    start = torch.stack([normal(width) for normal in sources])
    steps = torch.stack([normal(num_steps, width) for normal in sources])
    return start, steps.transpose(0, 1).contiguous()


def _normal(seed: int) -> Callable[..., Tensor]:
    """Shape -> standard normal float32 numbers, the next ones at every call."""
    if seed < _BEYOND:
        generator = torch.Generator().manual_seed(seed)
        return lambda *shape: torch.randn(shape, generator=generator)
    # torch seeds a CPU generator with 32 bits, too few for so many different noises.
    philox = np.random.Generator(np.random.Philox(key=seed))
    return lambda *shape: torch.from_numpy(philox.standard_normal(shape, np.float32))
