import numpy as np
import pytest

from diffusion.grid import (
    TimeGrid,
    fine_grid,
    grid_at,
    karras_grid,
    uniform_log_snr_grid,
    uniform_t_grid,
)
from diffusion.schedule import (
    cosine_schedule,
    edm_schedule,
    linear_beta_schedule,
    scaled_linear_schedule,
)


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_every_spacing_takes_so_many_steps_to_clean_data(num_steps):
    for grid in (
        uniform_t_grid(cosine_schedule(1000), num_steps),
        uniform_t_grid(linear_beta_schedule(1000), num_steps),
        uniform_log_snr_grid(num_steps, q_max=80.0, q_min=0.01),
        karras_grid(num_steps, q_max=80.0, q_min=0.01),
    ):
        assert len(grid.steps()) == grid.num_steps == num_steps
        assert (grid.alpha[-1], grid.sigma[-1]) == (1.0, 0.0)


def test_a_grid_uniform_in_t_picks_the_schedules_own_levels():
    schedule = cosine_schedule(12)
    grid = uniform_t_grid(schedule, 4)
    np.testing.assert_array_equal(grid.alpha, schedule.alpha[[12, 9, 6, 3, 0]])
    np.testing.assert_array_equal(grid.sigma, schedule.sigma[[12, 9, 6, 3, 0]])


def test_levels_uniform_in_the_half_log_snr_are_a_geometric_row_of_sigma_over_alpha():
    grid = uniform_log_snr_grid(5, q_max=16.0, q_min=1 / 16)
    np.testing.assert_allclose(grid.sigma[:-1] / grid.alpha[:-1], [16, 4, 1, 1 / 4, 1 / 16])
    np.testing.assert_allclose(np.diff(grid.half_log_snr)[:-1], np.log(4))


@pytest.mark.parametrize(
    "schedule", [cosine_schedule(50), scaled_linear_schedule(), edm_schedule(9)]
)
def test_the_fine_grid_of_a_schedule_has_its_ends_and_equal_steps_in_between(schedule):
    grid = fine_grid(schedule, 30)
    for t, k in ((schedule.num_steps, 0), (1, -2), (0, -1)):
        ends = (grid.alpha[k], grid.sigma[k])
        np.testing.assert_allclose(ends, (schedule.alpha[t], schedule.sigma[t]), rtol=1e-9)
    inner = grid.half_log_snr[np.isfinite(grid.half_log_snr)]
    assert len(inner) == 30
    np.testing.assert_allclose(np.diff(inner), (inner[-1] - inner[0]) / 29)


def test_a_schedule_with_a_single_level_between_its_ends_has_no_fine_grid():
    with pytest.raises(ValueError, match="a schedule of 2 steps is too coarse for its flow"):
        fine_grid(cosine_schedule(2), 30)


def test_the_seventh_roots_of_karras_levels_are_equally_far_apart():
    grid = karras_grid(9, q_max=80.0, q_min=0.002)
    q = grid.sigma / grid.alpha
    assert (q[0], q[-2]) == (pytest.approx(80.0), pytest.approx(0.002))
    np.testing.assert_allclose(np.diff(q[:-1] ** (1 / 7), n=2), 0, atol=1e-12)


def test_a_step_knows_both_its_ends_and_the_step_before():
    grid = grid_at(np.array([-np.inf, -1.0, 0.5, np.inf]))
    first, second, last = grid.steps()
    assert (first.alpha_t, first.sigma_t, first.h, first.h_before) == (0, 1, np.inf, None)
    assert (second.h, second.h_before) == (pytest.approx(1.5), np.inf)
    assert (last.alpha_u, last.sigma_u, last.h) == (1, 0, np.inf)
    assert second.noise_ratio == pytest.approx(np.exp(-1.5))
    assert (first.noise_ratio, last.noise_ratio) == (0, 0)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([0.0, 1.0, 1.0, 2.0], "point 2.*does not lower the noise"),
        ([2.0, 1.0], "point 1.*order from noisy to clean"),
        ([0.0, np.nan], "point 1.*not finite"),
        ([1.0], "N >= 1 steps"),
    ],
)
def test_a_grid_that_does_not_decrease_is_refused_by_its_first_point(levels, message):
    with pytest.raises(ValueError, match=message):
        grid_at(np.array(levels))


def test_levels_off_the_circle_are_refused():
    with pytest.raises(ValueError, match=r"point 1.*breaks alpha\*\*2"):
        TimeGrid(alpha=np.array([0.6, 0.9]), sigma=np.array([0.8, 0.5]))


@pytest.mark.parametrize("num_steps", [0, -3])
def test_fewer_steps_than_one_are_refused(num_steps):
    with pytest.raises(ValueError, match=f"num_steps must be at least 1, got {num_steps}"):
        karras_grid(num_steps, 80.0, 0.01)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        uniform_log_snr_grid(num_steps, 80.0, 0.01)
    with pytest.raises(ValueError, match=f"num_steps must be from 1 to .* 10, got {num_steps}"):
        uniform_t_grid(cosine_schedule(10), num_steps)


def test_impossible_ranges_and_more_steps_than_the_schedule_has_are_refused():
    with pytest.raises(ValueError, match="from 1 to the schedule's 10, got 11"):
        uniform_t_grid(cosine_schedule(10), 11)
    for q_max, q_min in ((0.01, 80.0), (80.0, 0.0), (np.inf, 0.01)):
        with pytest.raises(ValueError, match="fall from q_max to q_min > 0"):
            karras_grid(5, q_max, q_min)
