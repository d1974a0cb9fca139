from dataclasses import dataclass

import pytest

from experiment.flags import (
    SEEDS,
    refuse_above,
    refuse_bad_seeds,
    refuse_below,
    refuse_not_positive,
    refuse_repeats,
)


@dataclass(frozen=True)
class Config:
    batch_size: int = 1
    lr: float | None = None
    epochs: tuple[int, ...] = (3, 1)


def test_what_a_job_can_work_with_passes():
    for refuse in (refuse_not_positive, lambda config, *names: refuse_below(config, 1, *names)):
        refuse(Config(), "batch_size", "lr")
    refuse_below(Config(), 1, "epochs")
    refuse_repeats(Config(), "epochs")


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_not_positive_and_finite_is_refused(lr):
    with pytest.raises(ValueError, match=f"--lr must be positive, got {lr}"):
        refuse_not_positive(Config(lr=lr), "batch_size", "lr")


@pytest.mark.parametrize(
    ("config", "found"),
    [(Config(0), 0), (Config(lr=float("nan")), "nan"), (Config(epochs=(4, 0)), 0)],
)
def test_what_lies_below_is_refused_wherever_it_stands(config, found):
    with pytest.raises(ValueError, match=rf"--[\w-]+ must be at least 1, got {found}"):
        refuse_below(config, 1, "batch_size", "lr", "epochs")


def test_what_lies_above_is_refused_wherever_it_stands():
    refuse_above(Config(), 3, "batch_size", "lr", "epochs")
    with pytest.raises(ValueError, match="--epochs must be at most 2, got 3"):
        refuse_above(Config(), 2, "batch_size", "lr", "epochs")


@pytest.mark.parametrize("seed", [-1, SEEDS.stop])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    refuse_bad_seeds(Config(batch_size=SEEDS.stop - 1), "batch_size", "lr")
    with pytest.raises(ValueError, match=f"--batch-size must be from 0 to 4294967295, got {seed}"):
        refuse_bad_seeds(Config(batch_size=seed), "batch_size")


@pytest.mark.parametrize(("epochs", "given"), [((), "none"), ((2, 5, 2), "2 5 2")])
def test_an_empty_or_repetitive_list_is_refused(epochs, given):
    message = f"--epochs must be one or more different values, got {given}$"
    with pytest.raises(ValueError, match=message):
        refuse_repeats(Config(epochs=epochs), "epochs")
