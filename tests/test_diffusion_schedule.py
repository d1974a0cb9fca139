import json

import numpy as np
import pytest

from diffusion.schedule import (
    NoiseSchedule,
    cosine_schedule,
    find_schedule,
    linear_beta_schedule,
    read_schedule,
)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 32, 512])
def test_cosine_schedule_is_variance_preserving_with_exact_ends(num_steps):
    schedule = cosine_schedule(num_steps)
    assert schedule.num_steps == num_steps
    assert (schedule.alpha[0], schedule.sigma[0]) == (1.0, 0.0)
    assert (schedule.alpha[-1], schedule.sigma[-1]) == (0.0, 1.0)
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1.0, rtol=1e-15)


def test_the_middle_of_the_cosine_schedule_has_equal_signal_and_noise():
    schedule = cosine_schedule(8)
    assert schedule.alpha[4] == pytest.approx(np.sqrt(0.5))
    assert schedule.sigma[4] == pytest.approx(np.sqrt(0.5))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        cosine_schedule(0)


@pytest.mark.parametrize(
    ("alpha", "sigma", "message"),
    [
        ([1.0, 0.6, 0.8, 0.0], [0.0, 0.8, 0.6, 1.0], "t = 2.*does not lower alpha"),
        ([1.0, 0.8, np.nan, 0.0], [0.0, 0.6, 0.8, 1.0], "t = 2.*is not finite"),
        ([1.0, 0.8, 0.6, 0.0], [0.0, 0.6, 0.7, 1.0], r"t = 2.*breaks alpha\*\*2"),
        ([1.0, 0.8, 6e-17], [0.0, 0.6, 1.0], r"t = 2.*must be exactly \(0.0, 1.0\)"),
        ([0.8, 0.6, 0.0], [0.6, 0.8, 1.0], r"t = 0.*must be exactly \(1.0, 0.0\)"),
        ([1.0, 0.0], [0.0, 0.5, 1.0], r"shape \(T \+ 1,\)"),
        ([1.0], [0.0], "T >= 1"),
    ],
)
def test_a_schedule_that_breaks_an_assumption_is_refused_at_its_first_t(alpha, sigma, message):
    with pytest.raises(ValueError, match=message):
        NoiseSchedule(np.array(alpha), np.array(sigma))


def test_the_linear_beta_schedule_integrates_its_rate():
    """d log(alpha**2) / du = -(0.1 + 19.9 u), by the midpoint rule, exact for linear rates."""
    schedule = linear_beta_schedule(64)
    rates = 0.1 + 19.9 * (np.arange(63) + 0.5) / 64
    np.testing.assert_allclose(schedule.alpha[1:-1] ** 2, np.exp(-np.cumsum(rates) / 64))
    assert linear_beta_schedule(1).num_steps == 1


def test_a_schedule_is_read_from_its_file(tmp_path):
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps({"alpha": [1.0, 0.6, 0.0], "sigma": [0.0, 0.8, 1.0]}))
    for schedule in (read_schedule(path), find_schedule(str(path), num_steps=1000)):
        np.testing.assert_array_equal(schedule.sigma, [0.0, 0.8, 1.0])


def test_a_schedule_is_found_by_its_name():
    found = find_schedule("linear_beta", 7)
    np.testing.assert_array_equal(found.alpha, linear_beta_schedule(7).alpha)
    with pytest.raises(FileNotFoundError, match="sine: no such file, and none of cosine, linear"):
        find_schedule("sine", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"alpha": [1.0, 0.6, 0.0], "sigma": [0.0, 1.0]}', r"got \(3,\) and \(2,\)"),
        ('{"alpha": [1.0, 0.6, 0.8, 0.0], "sigma": [0, 0.8, 0.6, 1]}', "t = 2.*lower alpha"),
        ('{"alpha": [1.0, NaN, 0.0], "sigma": [0.0, 0.8, 1.0]}', "holds NaN, which is no number"),
        ('{"alpha": [1.0, 0.6, 0.0]}', "not a schedule .*sigma"),
        ('{"alpha": "no", "sigma": [0.0, 0.8, 1.0]}', "not a schedule"),
        ("[1.0]", "not a schedule"),
        ('{"alpha": [1.0', "not a schedule"),
    ],
)
def test_a_file_that_holds_no_schedule_is_refused_by_its_path(tmp_path, text, message):
    path = tmp_path / "schedule.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"schedule.json: .*{message}"):
        read_schedule(path)
