"""Every sampler against the scheduler of that name in diffusers, on one network and one grid.

What is mapped to what: a grid's levels with sigma > 0, cleanest first, become the training table
of the scheduler (``trained_betas``), which then walks all of it, so its index grid is ours whatever
the spacing. Its sigmas are our q = sigma / alpha. EulerDiscrete and EulerAncestralDiscrete walk
y = x / alpha, ours walk x. EulerDiscrete is our ``ddim``: Euler in q. diffusers has no Euler in the
half log-SNR, so ``euler_log_snr`` is held to its order and to the flow in test_diffusion_samplers.
Noise comes from one generator a sample on both sides.
"""

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import denoiser_of
from diffusion.grid import TimeGrid, grid_at, karras_grid, uniform_log_snr_grid, uniform_t_grid
from diffusion.samplers import SAMPLERS, ddim, sample
from diffusion.schedule import linear_beta_schedule
from experiment.seeds import seeded_noise, walk_noise
from sampling.noise_estimator import NoiseEstimator

# diffusers asks NumPy for arrays in an old way, and will drop the noise form of DPM-Solver in time.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
    pytest.mark.filterwarnings("ignore:`algorithm_types dpmsolver"),
]
DIM, BATCH = 32, 6
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # their tables are float32


def alternating_grid() -> TimeGrid:
    lengths = np.tile([0.2, 0.4], 10)
    return grid_at(np.append(-3 + np.append(0, lengths.cumsum()), np.inf))


_LINEAR = uniform_t_grid(linear_beta_schedule(1000), 25)
GRIDS = {
    "t": TimeGrid(_LINEAR.alpha[1:], _LINEAR.sigma[1:]),  # eps predictions need alpha > 0
    "log_snr": uniform_log_snr_grid(20, q_max=20.0, q_min=0.02),
    "karras": karras_grid(20, q_max=20.0, q_min=0.02),
    "alternating": alternating_grid(),
}


@pytest.fixture(scope="module", params=GRIDS)
def grid(request) -> TimeGrid:
    return GRIDS[request.param]


@pytest.fixture(scope="module")
def diffusers() -> ModuleType:
    """Imported here, as every worker collects this file and one of them runs it."""
    return importlib.import_module("diffusers")


@pytest.fixture(scope="module")
def estimator() -> NoiseEstimator:
    """A network that is far from linear: all its weights random."""
    torch.manual_seed(0)
    data = Eigenbasis(np.linspace(-1, 1, DIM), np.linspace(0.1, 1.5, DIM), np.eye(DIM))
    model = NoiseEstimator(data, width=48, depth=2).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def betas(grid: TimeGrid) -> np.ndarray:
    """1 - abar_j / abar_{j-1} over the levels with sigma > 0, cleanest first; abar = alpha**2."""
    abar = grid.alpha[grid.sigma > 0][::-1] ** 2
    return 1 - abar / np.append(1.0, abar[:-1])


def start(grid: TimeGrid) -> tuple[torch.Tensor, list[torch.Generator]]:
    """x_start of the seeds 0.. and the generators that drew it, at the state that follows."""
    x_start = seeded_noise(range(BATCH), DIM)
    generators = [torch.Generator().manual_seed(seed) for seed in range(BATCH)]
    for generator in generators:
        torch.randn(DIM, generator=generator)
    return x_start, generators


def ours(update, denoise, grid: TimeGrid) -> torch.Tensor:
    x_start, noise = walk_noise(range(BATCH), grid.num_steps, DIM)
    return sample(update, denoise, grid, x_start, noise)


def theirs(scheduler, output, grid: TimeGrid, scale: float = 1.0, **step_options) -> torch.Tensor:
    """diffusers' own loop; ``output`` is the network, asked at our noise levels."""
    x_start, generators = start(grid)
    x = x_start * scale
    for k, t in enumerate(scheduler.timesteps):
        x_t = scheduler.scale_model_input(x, t)
        predicted = output(x_t, float(grid.alpha[k]), float(grid.sigma[k]))
        x = scheduler.step(predicted, t, x, generator=generators, **step_options).prev_sample
    return x


def table(grid: TimeGrid) -> dict[str, object]:
    return {"num_train_timesteps": int((grid.sigma > 0).sum()), "trained_betas": betas(grid)}


def eps_of(estimator):
    return lambda x, alpha, sigma: estimator.denoise(x, alpha, sigma).eps


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(diffusers, estimator, grid, eta):
    scheduler = diffusers.DDIMScheduler(**table(grid), clip_sample=False)
    scheduler.set_timesteps(grid.num_steps)
    expected = theirs(scheduler, eps_of(estimator), grid, eta=eta)

    def update(*arguments):
        return ddim(*arguments, eta=eta)

    torch.testing.assert_close(ours(update, estimator.denoise, grid), expected, **TOLERANCE)


def test_ddim_is_euler_discrete(diffusers, estimator, grid):
    scheduler = diffusers.EulerDiscreteScheduler(**table(grid), timestep_spacing="leading")
    scheduler.set_timesteps(grid.num_steps)
    expected = theirs(scheduler, eps_of(estimator), grid, scale=1 / grid.alpha[0])
    torch.testing.assert_close(ours(ddim, estimator.denoise, grid), expected, **TOLERANCE)


@pytest.mark.parametrize("prediction", ["eps", "x_0", "v"])
def test_dpmpp_2m(diffusers, estimator, grid, prediction):
    """All three kinds of prediction, converted by each side for itself."""
    names = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **table(grid), lower_order_final=False, prediction_type=names[prediction]
    )
    scheduler.set_timesteps(timesteps=list(range(grid.num_steps))[::-1])

    def network(x, alpha, sigma):
        x_0, eps = estimator.denoise(x, alpha, sigma)
        return {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0}[prediction]

    expected = theirs(scheduler, network, grid)
    found = ours(SAMPLERS["dpmpp_2m"], denoiser_of(network, prediction), grid)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_dpm_2m(diffusers, estimator, grid):
    """diffusers takes this form to sigma > 0 only, so both stop at the last level above it."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **table(grid),
        algorithm_type="dpmsolver",
        final_sigmas_type="sigma_min",
        lower_order_final=False,
    )
    scheduler.set_timesteps(timesteps=list(range(1, grid.num_steps))[::-1])
    above = TimeGrid(grid.alpha[:-1], grid.sigma[:-1])
    expected = theirs(scheduler, eps_of(estimator), above)
    found = ours(SAMPLERS["dpm_2m"], estimator.denoise, above)
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("size", ["small", "large"])
def test_ddpm(diffusers, estimator, grid, size):
    scheduler = diffusers.DDPMScheduler(
        **table(grid), clip_sample=False, variance_type=f"fixed_{size}"
    )
    scheduler.set_timesteps(grid.num_steps)
    expected = theirs(scheduler, eps_of(estimator), grid)
    found = ours(SAMPLERS[f"ddpm_{size}"], estimator.denoise, grid)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_euler_ancestral(diffusers, estimator, grid):
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**table(grid), timestep_spacing="leading")
    scheduler.set_timesteps(grid.num_steps)
    expected = theirs(scheduler, eps_of(estimator), grid, scale=1 / grid.alpha[0])
    found = ours(SAMPLERS["euler_ancestral"], estimator.denoise, grid)
    torch.testing.assert_close(found, expected, **TOLERANCE)
