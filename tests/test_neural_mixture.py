"""Floors of mixture teachers, against the library's own denoiser and known special cases."""

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import mixture_denoiser
from diffusion.schedule import cosine_schedule
from neural.config import MixtureConfig
from neural.mixture import TwoModes, composite, fit_gated, measure_floor, study_mixture
from report.mixture import summary


@pytest.mark.parametrize("separation", [0.5, 3.0])
@pytest.mark.parametrize(("alpha", "sigma"), [(0.6, 0.8), (0.0, 1.0), (0.995, 0.0998749)])
def test_the_denoiser_is_that_of_any_mixture(separation, alpha, sigma):
    data = TwoModes(separation)
    components = [
        Eigenbasis(np.array([sign * data.mean]), np.array([data.spread**2]), np.eye(1))
        for sign in (-1.0, 1.0)
    ]
    denoise = mixture_denoiser(torch.tensor([0.5, 0.5]).double(), components)
    x_t = np.linspace(-3.0, 3.0, 41)
    expected = denoise(torch.from_numpy(x_t)[:, None], alpha, sigma).x_0[:, 0].numpy()
    np.testing.assert_allclose(data.denoise(x_t, alpha, sigma), expected, rtol=1e-9, atol=1e-12)


def test_sums_over_the_grid_are_expectations():
    data = TwoModes(2.0)
    assert data.mean**2 + data.spread**2 == pytest.approx(1.0)
    points, weights = data.grid(0.6, 0.8)
    assert weights @ points**2 == pytest.approx(1.0, abs=1e-12)
    kurtosis = 0.36**2 * (data.mean**4 + 6 * (data.mean * data.spread) ** 2 + 3 * data.spread**4)
    kurtosis += 6 * 0.36 * 0.64 + 3 * 0.64**2
    assert weights @ points**4 == pytest.approx(kurtosis, rel=1e-10)


def test_one_gate_is_the_affine_regression():
    data, schedule = TwoModes(3.0), cosine_schedule(16)
    x, weights = data.grid(0.0, 1.0)
    target = composite(schedule, data, x, 16, 0)
    slope = weights @ (x * target) / (weights @ x**2)  # both have mean 0
    expected = weights @ (target - slope * x) ** 2 / (weights @ target**2)
    assert fit_gated(x, weights, target, 1).floor == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("separation", [0.5, 2.0, 5.0])
def test_two_gates_are_exact_for_one_step(separation):
    """tanh is a softmax of two, so one step of a two-mode teacher is in the class."""
    assert measure_floor(16, separation, "to_data", 1, 2).floor < 1e-20
    # At pure noise the denoiser knows nothing, so the first step is linear and two are exact, too.
    assert measure_floor(16, separation, "from_noise", 2, 2).floor < 1e-20


def test_the_floor_grows_with_the_length_and_saturates_in_the_number_of_steps():
    lengths = [measure_floor(32, 3.0, "to_data", length, 2).floor for length in (2, 8, 32)]
    assert lengths[0] < lengths[1] < lengths[2]
    finer = [measure_floor(steps, 3.0, "to_data", steps, 2).floor for steps in (16, 32, 64)]
    assert finer[2] - finer[1] < 0.7 * (finer[1] - finer[0])
    assert finer[2] < 1.2 * finer[0]


def test_more_pieces_leave_less():
    floors = [measure_floor(16, 3.0, "to_data", 16, gates).floor for gates in (1, 2, 4)]
    assert floors[0] > 10 * floors[1] > 100 * floors[2] / 2


def test_a_floor_error_is_damped_although_the_worst_error_is_amplified():
    row = measure_floor(32, 3.0, "from_noise", 16, 2)
    assert row.amplification < 1.0 < row.rms_gain < row.max_gain
    assert np.isnan(measure_floor(32, 3.0, "to_data", 16, 2).amplification)


@pytest.mark.parametrize("num_steps", [2, 3])
def test_any_number_of_steps_is_summed_up_and_modes_that_are_one_leave_no_nan(tmp_path, num_steps):
    """The halves are measured where T is no power of 2, and errors that are rounding are named."""
    config = MixtureConfig(tmp_path / "run", num_steps, separations=(1e-3,), gates=(1,))
    text = summary(study_mixture(config))
    line = text.splitlines()[-1]
    assert line.startswith("| 0.001 |")
    assert "nan" not in line
    assert line.split("|")[-3].strip() == "–"
