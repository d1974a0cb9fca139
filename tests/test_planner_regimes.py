import numpy as np
import pytest

from diffusion.schedule import cosine_schedule, linear_beta_schedule
from planner.regimes import consistency_threshold, gaps, vanilla_threshold
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING

# ERRATA P-4, from 80-bit searches: T -> lam_C at s = 1.6, 3.2, 6.4.
CONSISTENCY = {
    8: (1.29088, 1.29353, 1.29360),
    16: (1.13647, 1.14060, 1.14074),
    32: (1.06448, 1.06882, 1.06900),
    64: (1.02996, 1.03397, 1.03418),
}


@pytest.mark.parametrize("num_steps", [2, 3, 8, 32, 512, 4096])
def test_the_vanilla_threshold_is_its_closed_form(num_steps):
    closed_form = 2 / (1 - np.tan(np.pi / (4 * num_steps)) ** 2)
    assert vanilla_threshold(cosine_schedule(num_steps)) == pytest.approx(closed_form, rel=1e-9)


@pytest.mark.parametrize("num_steps", [4, 6, 8])
@pytest.mark.parametrize("train_time", [0.1, 0.4])
def test_a_search_sees_vanilla_lose_just_below_its_threshold_and_not_above(num_steps, train_time):
    schedule = cosine_schedule(num_steps)
    near = vanilla_threshold(schedule) * (1 + np.array([-1e-9, 1e-9]))
    below, above = gaps(schedule, near, train_time)["vanilla"]
    assert below > 3e-13
    assert above < 1e-15


@pytest.mark.parametrize("num_steps", CONSISTENCY)
def test_the_consistency_threshold_is_that_of_the_errata(num_steps):
    schedule = cosine_schedule(num_steps)
    found = [consistency_threshold(schedule, time) for time in (1.6, 3.2, 6.4)]
    np.testing.assert_allclose(found, CONSISTENCY[num_steps], atol=5.1e-6)


def test_two_steps_leave_nothing_to_choose():
    assert consistency_threshold(cosine_schedule(2), 1.6) == np.inf
    assert vanilla_threshold(cosine_schedule(1)) == 1.0
    assert optimal_strategies(cosine_schedule(1), 1.5, 1.6) == tuple(CANONICAL)


def optimal_strategies(schedule, variance, train_time):
    found = gaps(schedule, np.array([variance]), train_time)
    return tuple(name for name, gap in found.items() if gap[0] <= OPERATOR_ROUNDING)


@pytest.mark.parametrize(
    ("variance", "optimal"),
    [
        (0.0, ("sequential_boot",)),
        (0.5, ("sequential_boot",)),
        (1.0, ("sequential_boot",)),
        (1.05, ("sequential_consistency",)),
        (1.08, ()),
        (1.9, ()),
        (2.01, ("vanilla",)),
        (1e6, ("vanilla", "sequential_consistency")),  # training finishes but for step T
    ],
)
def test_every_regime_has_its_strategy(variance, optimal):
    schedule = cosine_schedule(32)
    assert optimal_strategies(schedule, variance, 0.4) == optimal
    assert 1.0 < consistency_threshold(schedule, 0.4) < 1.08 < vanilla_threshold(schedule) < 2.01


def test_on_another_schedule_vanilla_is_optimal_from_its_threshold_on():
    schedule = linear_beta_schedule(16)
    from_there = vanilla_threshold(schedule) * np.array([1.0 + 1e-9, 2.0, 100.0])
    assert gaps(schedule, from_there, 0.8)["vanilla"].max() < 1e-14
