import itertools

import numpy as np
import pytest
import torch

from experiment.seeds import (
    SEEDS_PER_BANK,
    bank_seeds,
    keyed_generator,
    seeded_noise,
    student_generator,
    walk_noise,
)


@pytest.mark.parametrize("bank", [0, 1, 4_293, 2**32 - 1])
def test_the_first_million_noises_of_a_bank_are_those_of_version_0_1(bank):
    for first in (0, 7, SEEDS_PER_BANK - 2):
        found = seeded_noise(bank_seeds(bank, 2, first), width=3)
        for i in range(2):
            generator = torch.Generator().manual_seed(bank * 1_000_000 + first + i)
            assert torch.equal(found[i], torch.randn(3, generator=generator))


def test_banks_are_disjoint_beyond_their_first_million():
    """Face 1,000,000 of bank 0 was face 0 of bank 1: torch seeds a CPU generator with 32 bits."""
    firsts = (0, SEEDS_PER_BANK - 1, SEEDS_PER_BANK, SEEDS_PER_BANK + 1, 2**32 - 1)
    places = list(itertools.product((0, 1, 2), firsts))
    noises = [seeded_noise(bank_seeds(bank, 1, first), width=8)[0] for bank, first in places]
    for (i, one), (j, other) in itertools.combinations(enumerate(noises), 2):
        assert not torch.equal(one, other), (places[i], places[j])


def test_noise_beyond_the_first_million_is_standard_normal_and_independent_of_the_batch():
    across = seeded_noise(bank_seeds(3, 4_000, SEEDS_PER_BANK - 1), width=5)
    alone = seeded_noise(bank_seeds(3, 1, SEEDS_PER_BANK + 2_000), width=5)
    assert torch.equal(across[2_001], alone[0])
    assert across.dtype == torch.float32
    # 20,000 numbers: the mean has a standard error of 0.007, the variance one of 0.01.
    assert abs(across.mean()) < 0.03
    assert abs(across.var() - 1) < 0.04


@pytest.mark.parametrize("first", [0, SEEDS_PER_BANK - 1])
def test_a_walk_starts_from_the_noise_of_its_seeds(first):
    seeds = bank_seeds(0, 3, first)
    start, steps = walk_noise(seeds, num_steps=2, width=4)
    assert torch.equal(start, seeded_noise(seeds, width=4))
    assert steps.shape == (2, 3, 4)
    assert torch.equal(walk_noise(seeds[1:], 2, 4)[1], steps[:, 1:])


def test_generators_depend_on_the_whole_key_and_keep_their_streams():
    """The embedded VAE was trained on the 64-bit stream, the published students on the other."""
    (state,) = np.random.SeedSequence((3, 1, 4)).generate_state(1, np.uint64)
    assert keyed_generator(3, 1, 4).initial_seed() == int(state)
    assert student_generator(3, 1, 4).initial_seed() == int(state) >> 1
    seeds = {keyed_generator(*key).initial_seed() for key in ((3, 1, 4), (3, 4, 1), (3, 1), (3,))}
    assert len(seeds) == 4
