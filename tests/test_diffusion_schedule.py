import json
from dataclasses import replace

import numpy as np
import pytest

from diffusion.schedule import (
    NoiseSchedule,
    cosine_schedule,
    edm_schedule,
    flow_schedule,
    linear_beta_schedule,
    scaled_linear_schedule,
    subsampled,
    zero_terminal_snr,
)
from diffusion.schedule_choice import (
    SCHEDULES,
    ScheduleFlags,
    choose_noise_schedule,
    choose_schedule,
    find_schedule,
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


@pytest.mark.parametrize("num_steps", [1, 2, 7, 512])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_named_schedule_begins_clean_and_says_its_name(name, num_steps):
    schedule = choose_schedule(ScheduleFlags(schedule=name), num_steps)
    assert (schedule.num_steps, schedule.name) == (num_steps, name)
    assert (schedule.alpha[0], schedule.sigma[0]) == (1.0, 0.0)
    keeps_signal = {"scaled_linear": 0.0682649, "edm": 0.0124990}
    assert schedule.alpha[-1] == pytest.approx(keeps_signal.get(name, 0.0), abs=1e-7)


def test_scaled_linear_is_stable_diffusions():
    """Recorded from diffusers 0.42: alphas_cumprod of DDPMScheduler and, with zero SNR, of
    DDIMScheduler, for beta_start 0.00085, beta_end 0.012 and beta_schedule scaled_linear."""
    schedule = scaled_linear_schedule()
    recorded = {1: 0.99914998, 250: 0.67543209, 500: 0.27766943, 1000: 0.00466010}
    rescaled = {1: 0.99914998, 250: 0.65418887, 500: 0.24235900, 1000: 0.0}
    for found, theirs in ((schedule, recorded), (zero_terminal_snr(schedule), rescaled)):
        for t, value in theirs.items():
            assert found.alpha[t] ** 2 == pytest.approx(value, rel=2e-6, abs=1e-8)


def test_edm_sigmas_have_karras_spacing():
    """Linear in sigma**(1/7). Single values are recorded from EDMEulerScheduler, diffusers 0.42."""
    schedule = edm_schedule(18)
    sigmas = (schedule.sigma / schedule.alpha)[1:]
    np.testing.assert_allclose(sigmas[[2, 8, 16]], [0.022935, 1.9233, 57.586], rtol=1e-4)
    np.testing.assert_allclose(sigmas[[0, -1]], [0.002, 80.0], rtol=1e-9)
    np.testing.assert_allclose(np.diff(sigmas ** (1 / 7), n=2), 0.0, atol=1e-9)


def test_a_ddim_step_of_the_flow_schedule_is_an_euler_step_of_the_flow():
    """x_u = x_s + (u - s)(eps - x_0) in the flow's own scale, (1 - s) x_0 + s eps."""
    schedule, x_0, eps = flow_schedule(8), 0.7, -1.3
    share = np.arange(9) / 8
    length = np.hypot(1 - share, share)
    for t in range(8, 0, -1):
        ours = schedule.alpha[t - 1] * x_0 + schedule.sigma[t - 1] * eps
        x_s = (1 - share[t]) * x_0 + share[t] * eps
        assert ours * length[t - 1] == pytest.approx(x_s + (share[t - 1] - share[t]) * (eps - x_0))


def test_zero_snr_ends_in_pure_noise_and_keeps_both_first_levels():
    schedule = scaled_linear_schedule()
    rescaled = zero_terminal_snr(schedule)
    np.testing.assert_allclose(rescaled.alpha[:2], schedule.alpha[:2], rtol=1e-15)
    assert (rescaled.alpha[-1], rescaled.sigma[-1]) == (0.0, 1.0)
    steps = np.diff(rescaled.alpha[1:]) / np.diff(schedule.alpha[1:])  # an affine map
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    assert rescaled.name == "scaled_linear zero_snr"
    cosine = cosine_schedule(5)
    assert zero_terminal_snr(cosine) == cosine
    assert zero_terminal_snr(edm_schedule(1)) == cosine_schedule(1)


def test_subsampling_takes_equal_distances_and_both_ends():
    training = scaled_linear_schedule()
    assert subsampled(training, 1000) == training
    taken = subsampled(training, 3)
    np.testing.assert_array_equal(taken.alpha, training.alpha[[0, 333, 667, 1000]])
    with pytest.raises(ValueError, match="from 1 to the schedule's 1000, got 1001"):
        subsampled(training, 1001)


def test_schedules_are_equal_by_their_levels():
    assert cosine_schedule(4) == NoiseSchedule(cosine_schedule(4).alpha, cosine_schedule(4).sigma)
    assert hash(cosine_schedule(4)) == hash(cosine_schedule(4))
    assert cosine_schedule(4) != flow_schedule(4)


def test_the_refusal_of_a_signal_at_the_end_names_the_way_out():
    flags = ScheduleFlags(schedule="scaled_linear")
    with pytest.raises(ValueError, match=r"alpha_T = 0.0683 at t = T.*give --zero-snr"):
        choose_noise_schedule(flags, 10)
    with pytest.raises(ValueError, match="--zero-snr"):
        NoiseSchedule(np.array([1.0, 0.6]), np.array([0.0, 0.8]))
    assert choose_noise_schedule(replace(flags, zero_snr=True), 10).alpha[-1] == 0.0


def test_more_steps_than_the_training_schedule_has_are_refused():
    with pytest.raises(ValueError, match="--num-steps 1001, but scaled_linear has 1000; give no"):
        choose_schedule(ScheduleFlags(schedule="scaled_linear"), 1001)
