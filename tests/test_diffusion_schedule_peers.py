"""Schedules against those of the same name in diffusers, which are in single precision."""

import numpy as np
import pytest

from diffusion.gaussian import ddim_operators
from diffusion.schedule import (
    KARRAS_RHO,
    cosine_schedule,
    edm_schedule,
    flow_schedule,
    from_alphas_cumprod,
    from_betas,
    from_sigmas,
    karras_roots,
    linear_beta_schedule,
    scaled_linear_schedule,
    subsampled,
    zero_terminal_snr,
)

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}


def squares(scheduler) -> np.ndarray:
    return scheduler.alphas_cumprod.double().numpy()


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_betas_and_alphas_cumprod_mean_the_same_to_both(name):
    scheduler = diffusers.DDPMScheduler(beta_schedule=name)
    ours = from_betas(scheduler.betas.double().numpy())
    np.testing.assert_allclose(ours.alpha[1:] ** 2, squares(scheduler), rtol=2e-4, atol=1e-9)
    theirs = from_alphas_cumprod(squares(scheduler))
    np.testing.assert_allclose(theirs.alpha[1:] ** 2, squares(scheduler), rtol=1e-12)


def test_scaled_linear_and_its_zero_snr():
    plain = diffusers.DDIMScheduler(**STABLE_DIFFUSION)
    rescaled = diffusers.DDIMScheduler(**STABLE_DIFFUSION, rescale_betas_zero_snr=True)
    ours = scaled_linear_schedule()
    np.testing.assert_allclose(ours.alpha[1:] ** 2, squares(plain), rtol=2e-5)
    found = zero_terminal_snr(ours).alpha[1:] ** 2
    np.testing.assert_allclose(found, squares(rescaled), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("ours", "name", "largest"),
    [
        (cosine_schedule(1000), "squaredcos_cap_v2", 0.02),
        (linear_beta_schedule(1000), "linear", 7e-3),
    ],
)
def test_continuous_schedules_lie_near_their_discrete_namesakes(ours, name, largest):
    """Theirs has Nichol's offset 0.008; or keeps alpha_T = 0.0064, where ours is 0."""
    theirs = np.sqrt(squares(diffusers.DDPMScheduler(beta_schedule=name)))
    assert np.abs(ours.alpha[1:] - theirs).max() < largest


@pytest.mark.parametrize("num_steps", [1, 2, 7, 16, 50, 333, 999, 1000])
def test_subsampling_is_the_spacing_called_trailing(num_steps):
    scheduler = diffusers.DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing="trailing")
    scheduler.set_timesteps(num_steps)
    theirs = squares(scheduler)[scheduler.timesteps.numpy()[::-1]]
    ours = subsampled(scaled_linear_schedule(), num_steps)
    np.testing.assert_allclose(ours.alpha[1:] ** 2, theirs, rtol=2e-5)


@pytest.mark.parametrize("num_steps", [2, 18, 40])
def test_edm_sigmas(num_steps):
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(num_steps)
    ours = edm_schedule(num_steps)
    np.testing.assert_allclose(
        (ours.sigma / ours.alpha)[::-1], scheduler.sigmas.double().numpy(), rtol=1e-5
    )


def test_karras_sigmas_of_a_training_schedule():
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    scheduler.set_timesteps(10)
    theirs = scheduler.sigmas.double().numpy()
    np.testing.assert_allclose(
        karras_roots(10, theirs[0], theirs[-2]) ** KARRAS_RHO, theirs[:-1], rtol=1e-5
    )
    ours = from_sigmas(theirs)
    np.testing.assert_allclose((ours.sigma / ours.alpha)[::-1], theirs, rtol=1e-12)


def test_flow_matching_and_its_euler_steps():
    """Euler from noise to data with a velocity that depends on x, and DDIM in our own scale."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=8)
    ours = flow_schedule(8)
    theirs = scheduler.sigmas.double().numpy()
    np.testing.assert_allclose((ours.sigma / (ours.sigma + ours.alpha))[:0:-1], theirs, rtol=1e-6)

    scheduler.set_timesteps(sigmas=theirs.tolist())
    share = np.append(theirs, 0.0)
    length = np.hypot(1 - share, share)
    x = start = torch.tensor([[1.5]], dtype=torch.float64)
    y = start.item()
    for k, t in enumerate(scheduler.timesteps):
        x_0, j = np.sin(y * length[k]), 8 - k
        eps = (y - ours.alpha[j] * x_0) / ours.sigma[j]
        velocity = (y * length[k] - x_0) / share[k]  # eps - x_0 in the flow's scale
        y = ours.alpha[j - 1] * x_0 + ours.sigma[j - 1] * eps
        x = scheduler.step(torch.tensor([[velocity]]), t, x).prev_sample
        assert y * length[k + 1] == pytest.approx(x.item(), rel=1e-5)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_the_composite_is_what_their_ddim_loop_does_to_gaussian_data(zero_snr):
    """From x_T, whatever it is: also where the schedule keeps a signal at t = T."""
    variances, num_steps = np.array([0.2, 1.0, 3.0]), 10
    training = scaled_linear_schedule()
    schedule = subsampled(zero_terminal_snr(training) if zero_snr else training, num_steps)
    scheduler = diffusers.DDIMScheduler(
        **STABLE_DIFFUSION,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=zero_snr,
        prediction_type="v_prediction",
    )
    scheduler.set_timesteps(num_steps)
    x = torch.ones(1, 3, dtype=torch.float64)
    lam = torch.from_numpy(variances)
    for t in scheduler.timesteps:
        square = scheduler.alphas_cumprod[t].double()
        alpha, sigma = square.sqrt(), (1 - square).sqrt()
        noised = square * lam + 1 - square
        x_0, eps = alpha * lam / noised * x, sigma / noised * x
        x = scheduler.step(alpha * eps - sigma * x_0, t, x).prev_sample
    composite = ddim_operators(schedule, variances).prod(axis=0)
    np.testing.assert_allclose(composite, x[0].numpy(), rtol=1e-4)
