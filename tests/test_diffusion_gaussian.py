import numpy as np
import pytest

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import cosine_schedule

VARIANCES = np.array([0.0, 0.2, 0.5, 1.0, 1.02, 2.0, 5.0, 1e6])


def test_unit_variance_shrinks_equally_at_every_step():
    """For lam = 1 the operator is alpha_{t-1} alpha_t + sigma_{t-1} sigma_t = cos(pi / 2T)."""
    operators = ddim_operators(cosine_schedule(10), variances=np.ones(3))
    np.testing.assert_allclose(operators, np.cos(np.pi / 20), rtol=1e-12)


def test_operators_are_ddim_steps_with_the_posterior_mean_as_denoiser():
    """Against the sampler's own form: x_u = alpha_u x_0_hat + sigma_u eps_hat."""
    schedule, x_t = cosine_schedule(9), 1.7
    for t in range(1, 10):
        x_0 = schedule.alpha[t] * VARIANCES / noised_variances(schedule, VARIANCES)[t - 1] * x_t
        eps = (x_t - schedule.alpha[t] * x_0) / schedule.sigma[t]
        x_next = schedule.alpha[t - 1] * x_0 + schedule.sigma[t - 1] * eps
        np.testing.assert_allclose(ddim_operators(schedule, VARIANCES)[t - 1] * x_t, x_next)


def test_the_first_step_from_pure_noise_is_the_noise_scale_below():
    schedule = cosine_schedule(16)
    np.testing.assert_allclose(ddim_operators(schedule, VARIANCES)[-1], schedule.sigma[15])


@pytest.mark.parametrize("num_steps", [1, 4, 32])
def test_the_teacher_contracts_and_a_fine_grid_recovers_the_data(num_steps):
    """[OM] Prop. 3.2 as corrected: prod A_t <= sqrt(lam), with equality in the limit."""
    composite = ddim_operators(cosine_schedule(num_steps), VARIANCES).prod(axis=0)
    assert (composite <= np.sqrt(VARIANCES) + 1e-15).all()
    fine = ddim_operators(cosine_schedule(20_000), VARIANCES[:-1]).prod(axis=0)
    np.testing.assert_allclose(fine, np.sqrt(VARIANCES[:-1]), rtol=1e-3)


def test_the_surrogate_jumps_at_unit_variance():
    """ERRATA P-6: at lam = 1 it is cos(pi/2T)**T = 0.962166 for T = 32, just above it is 1."""
    variances = np.array([0.9, 1.0, 1.0 + 1e-9, 2.0])
    operators = ddim_operators(cosine_schedule(32), variances)
    surrogate = surrogate_composite(operators, variances)
    np.testing.assert_allclose(surrogate[:2], operators.prod(axis=0)[:2], rtol=1e-14)
    assert surrogate[1] == pytest.approx(0.962166, abs=5e-7)
    assert surrogate[2] == 1.0
    assert operators.prod(axis=0)[3] < surrogate[3] < np.sqrt(2.0)


@pytest.mark.parametrize(
    ("variances", "message"),
    [
        ([0.5, -1.0], "coordinate 1 is -1.0"),
        ([np.nan], "coordinate 0 is nan"),
        ([1.0, 2.0, np.inf], "coordinate 2 is inf"),
        ([], "d >= 1"),
    ],
)
def test_impossible_variances_are_refused_by_coordinate(variances, message):
    with pytest.raises(ValueError, match=message):
        ddim_operators(cosine_schedule(4), np.array(variances))
