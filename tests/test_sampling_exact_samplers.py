"""The exact quantities against ERRATA's tables and against closed forms of their own."""

import numpy as np
import pytest

from diffusion.samplers import SAMPLERS
from sampling.exact_samplers import VARIANCE, alternating_grid, local_kl, smooth_grid
from sampling.lecture_claims import (
    KL_LENGTHS,
    KL_START,
    claims,
    end_variance_of,
    kl_exponent,
    kl_of_drift,
    printed_ancestral_variance,
    printed_ddim,
    printed_endpoint_error,
    printed_euler,
    relative_excess,
    undrifted_variance,
)


@pytest.mark.parametrize(("name", "exponent"), [("ddim", 4), ("dpmpp_2m", 6), ("dpm_2m", 6)])
def test_a_steps_kl_falls_with_the_power_2p_plus_2(name, exponent):
    """ERRATA L-6: 4.02 to 4.06 and 5.99 to 6.07 for these lengths."""
    assert kl_exponent(name) == pytest.approx(exponent, abs=0.05)


@pytest.mark.parametrize("h", [0.2, 0.1, 0.05, 0.025])
def test_ddims_kl_is_that_of_the_angle_between_signal_noise_vectors(h):
    """Variance ratio cos**2, so KL = (-sin**2 - log cos**2) / 2; unit data: the angle is known."""
    sigma_of = [1 / np.sqrt(1 + np.exp(2 * level)) for level in (0.5, 0.5 + h)]
    angle = np.arcsin(sigma_of[0]) - np.arcsin(sigma_of[1])
    expected = (-(np.sin(angle) ** 2) - np.log(np.cos(angle) ** 2)) / 2
    assert local_kl(SAMPLERS["ddim"], 0.5, h, 1.0) == pytest.approx(expected, rel=1e-6)


def test_small_variance_and_euler_ancestral_err_alike_and_large_does_not():
    for h in KL_LENGTHS:
        small, euler_a, large = (
            local_kl(SAMPLERS[name], KL_START, h, VARIANCE)
            for name in ("ddpm_small", "euler_ancestral", "ddpm_large")
        )
        assert euler_a == pytest.approx(small, rel=1e-9)
        assert large > 1.2 * small


def test_printed_updates_fail_as_the_errata_say():
    """L-7: DDIM by the first line of (53) stays off, Euler by (47) diverges, at any start."""
    for start in (1.0, 4 / 3):
        first_line = [
            printed_endpoint_error(printed_ddim, smooth_grid(n), start) for n in (20, 640)
        ]
        euler = [printed_endpoint_error(printed_euler, smooth_grid(n), start) for n in (20, 640)]
        assert first_line[1] / first_line[0] == pytest.approx(5.41 / 6.85, abs=0.002)
        assert euler[1] / euler[0] == pytest.approx(25.1 / 17.5, abs=0.005)
    assert first_line[0] == pytest.approx(6.85, abs=0.01)
    assert euler[0] == pytest.approx(17.5, abs=0.05)


def test_printed_ancestral_moments_collapse_and_the_missing_drift_explodes():
    """L-10 row "printed mean, |C**2|" at K = 20, 80, 320, and L-8's factor 5961."""
    found = [relative_excess(printed_ancestral_variance, n, 0.25) for n in (20, 80, 320)]
    np.testing.assert_allclose(found, [-0.49, -0.89, -0.975], atol=0.006)
    for steps in (20, 1280):
        assert relative_excess(undrifted_variance, steps, 1.0) == pytest.approx(5960, abs=2)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_the_kl_of_a_drift_does_not_know_the_variance(variance):
    """L-6: 0.49012 for every V at h = 1e-3, where (35) prints 0.245 V."""
    assert kl_of_drift(variance) == pytest.approx(0.49, abs=0.002)


def test_alternating_steps_alternate_between_the_same_ends():
    lengths = np.diff(alternating_grid(10).half_log_snr)
    np.testing.assert_allclose(lengths[1::2] / lengths[::2], 2)
    assert lengths.sum() == pytest.approx(6)


def test_every_claim_is_measured():
    found = claims()
    assert [claim.source for claim in found][:3] == ["54", "53", "55"]
    assert all(claim.printed and claim.measured for claim in found)
    assert end_variance_of("ddpm_large")(smooth_grid(4), 1.0) == pytest.approx(1.0)
