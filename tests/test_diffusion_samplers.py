"""Samplers on Gaussian data, where each is a linear map whose output is known in closed form."""

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import gaussian_denoiser, mixture_denoiser
from diffusion.gaussian import ddim_operators
from diffusion.grid import TimeGrid, grid_at, karras_grid, uniform_t_grid
from diffusion.samplers import (
    DETERMINISTIC,
    MARKOVIAN,
    SAMPLERS,
    ddim,
    sample,
    walk,
)
from diffusion.schedule import cosine_schedule
from experiment.seeds import seeded_noise, walk_noise

ORDERS = {"ddim": 1, "euler_log_snr": 1, "dpmpp_2m": 2, "dpm_2m": 2}


def scalar_gaussian(mean: float, variance: float) -> Eigenbasis:
    return Eigenbasis(np.array([mean]), np.array([variance]), np.eye(1))


def smooth(num_steps: int) -> TimeGrid:
    return grid_at(np.linspace(-3, 3, num_steps + 1))


def alternating(num_steps: int) -> TimeGrid:
    """Steps in l of lengths 1, 2, 1, 2, ...: the ratio r never tends to 1."""
    lengths = np.tile([1.0, 2.0], num_steps // 2)
    return grid_at(-3 + 6 * np.append(0, lengths.cumsum()) / lengths.sum())


def endpoint_error(name: str, grid: TimeGrid, mean: float = 0.7, variance: float = 0.25) -> float:
    """Distance to the probability flow, which scales x - alpha mu as the standard deviation."""
    x = torch.tensor([[1.3]], dtype=torch.float64)
    found = sample(SAMPLERS[name], gaussian_denoiser(scalar_gaussian(mean, variance)), grid, x)
    deviation = np.sqrt(grid.alpha**2 * variance + grid.sigma**2)
    exact = grid.alpha[-1] * mean + deviation[-1] / deviation[0] * (1.3 - grid.alpha[0] * mean)
    return abs(found.item() - exact)


@pytest.mark.parametrize("spacing", [smooth, alternating])
@pytest.mark.parametrize("name", ORDERS)
def test_every_deterministic_sampler_reaches_its_order(name, spacing):
    """ERRATA L-7; without the step ratio r, 2M falls to order 1 on the alternating grid."""
    errors = [endpoint_error(name, spacing(steps)) for steps in (160, 320, 640)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, ORDERS[name], atol=0.03)


def linear_response(name: str, grid: TimeGrid, variance: float) -> tuple[float, np.ndarray]:
    """What a sampler makes of x_start, and of each step's noise, on N(0, variance) data.

    Row 0 walks from 1 without noise, row k from 0 with a 1 in step k's noise: the coefficients of
    the linear map that the sampler is.
    """
    rows = torch.eye(grid.num_steps + 1, dtype=torch.float64)
    denoise = gaussian_denoiser(scalar_gaussian(0.0, variance))
    found = sample(SAMPLERS[name], denoise, grid, rows[:, :1], noise=rows[:, 1:].T[:, :, None])
    return found[0].item(), found[1:, 0].numpy()


def end_variance(name: str, grid: TimeGrid, variance: float) -> float:
    """Exact variance at the grid's end, started from the exact marginal."""
    gain, noise_gains = linear_response(name, grid, variance)
    start = grid.alpha[0] ** 2 * variance + grid.sigma[0] ** 2
    return gain**2 * start + (noise_gains**2).sum()


# ERRATA L-10: relative variance error at the end, l from -4 to 4, K = 20, 80, 320, 1280. The small
# variance keeps data of variance 0, the large one data of variance 1.
SMALL = {
    0.0: (0, 0, 0, 0),
    0.25: (-0.311, -0.0935, -0.0246, -0.0062),
    1.0: (-0.312, -0.0936, -0.0246, -0.0062),
}
LARGE = {
    0.0: (1.22, 0.221, 0.0511, 0.0125),
    0.25: (0.192, 0.0446, 0.0110, 0.0027),
    1.0: (0, 0, 0, 0),
}


@pytest.mark.parametrize("variance", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    ("name", "table"), [("ddpm_small", SMALL), ("euler_ancestral", SMALL), ("ddpm_large", LARGE)]
)
def test_markovian_samplers_keep_the_marginals_as_tabled(name, table, variance):
    for steps, expected in zip((20, 80, 320, 1280), table[variance], strict=True):
        grid = grid_at(np.linspace(-4, 4, steps + 1))
        exact = grid.alpha[-1] ** 2 * variance + grid.sigma[-1] ** 2
        error = end_variance(name, grid, variance) / exact - 1
        if expected:
            assert error == pytest.approx(expected, rel=0.02)  # the table has two or three digits
        else:
            assert abs(error) < 1e-12


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_mean_of_the_data_is_carried_exactly_by_all_but_euler(name):
    """Started at alpha mu, x ends at alpha mu; Euler in l moves along the tangent instead."""
    grid = grid_at(np.linspace(-4, 4, 21))
    start = torch.full((1, 1), 0.7 * grid.alpha[0], dtype=torch.float64)
    noise = torch.zeros(20, 1, 1, dtype=torch.float64)
    found = sample(
        SAMPLERS[name], gaussian_denoiser(scalar_gaussian(0.7, 0.25)), grid, start, noise
    )
    tolerance = 0.05 if name == "euler_log_snr" else 1e-12
    assert found.item() == pytest.approx(0.7 * grid.alpha[-1], abs=tolerance)


def test_ddim_on_the_cosine_schedule_is_the_product_of_the_planners_operators():
    """Two implementations of one composite: torch along a grid, NumPy per step ([OM] eq. 14)."""
    variances = np.array([0.05, 0.4, 1.0, 1.7])
    schedule = cosine_schedule(32)
    data = Eigenbasis(np.zeros(4), variances, np.eye(4))
    x_T = torch.ones(1, 4, dtype=torch.float64)
    found = sample(ddim, gaussian_denoiser(data), uniform_t_grid(schedule, 32), x_T)
    expected = ddim_operators(schedule, variances).prod(axis=0)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-12)


def test_ddim_loses_the_cosine_of_the_angle_at_every_step():
    """ERRATA L-6: 20 steps from l = -3 to 3 on unit data leave 0.862... of the variance."""
    grid, variance = smooth(20), 0.25
    vectors = np.stack([grid.alpha * np.sqrt(variance), grid.sigma])
    vectors /= np.linalg.norm(vectors, axis=0)
    cosines = (vectors[:, 1:] * vectors[:, :-1]).sum(axis=0)
    exact = grid.alpha[-1] ** 2 * variance + grid.sigma[-1] ** 2
    assert end_variance("ddim", grid, variance) / exact == pytest.approx(
        (cosines**2).prod(), rel=1e-12
    )


def test_euler_ancestral_and_ddim_with_eta_1_are_ddpm_with_the_small_variance():
    grid = karras_grid(12, 80.0, 0.01)
    x_start, noise = walk_noise(range(5), 12, 16)
    denoise = gaussian_denoiser(Eigenbasis(np.ones(16), np.linspace(0.1, 2, 16), np.eye(16)))

    def with_eta_1(*arguments):
        return ddim(*arguments, eta=1.0)

    expected = sample(SAMPLERS["ddpm_small"], denoise, grid, x_start.double(), noise.double())
    for update in (SAMPLERS["euler_ancestral"], with_eta_1):
        found = sample(update, denoise, grid, x_start.double(), noise.double())
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_step_to_clean_data_returns_the_denoisers_x_0(name):
    denoise = gaussian_denoiser(scalar_gaussian(0.3, 0.5))
    grid = grid_at(np.array([-1.0, 0.0, 1.5, np.inf]))
    x_start, noise = torch.ones(1, 1).double(), torch.ones(3, 1, 1).double()
    *_, before_last, last = walk(SAMPLERS[name], denoise, grid, x_start, noise)
    step = grid.steps()[-1]
    assert last == denoise(before_last, step.alpha_t, step.sigma_t).x_0


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "euler_log_snr"])
def test_a_grid_may_start_at_pure_noise(name):
    """alpha = 0 is the limit of small alpha, which 2M nears as 1 / h: hence the tolerance."""
    denoise = gaussian_denoiser(scalar_gaussian(0.3, 0.5))
    tail = [-1.0, -0.2, 0.9, np.inf]
    x_start, noise = torch.ones(1, 1).double(), torch.ones(4, 1, 1).double()
    exact, nearly = (
        sample(SAMPLERS[name], denoise, grid_at(np.array([start, *tail])), x_start, noise)
        for start in (-np.inf, -350.0)
    )
    torch.testing.assert_close(exact, nearly, rtol=3e-3, atol=0)


def test_euler_in_the_log_snr_refuses_pure_noise_with_the_mend():
    denoise = gaussian_denoiser(scalar_gaussian(0.0, 1.0))
    grid = uniform_t_grid(cosine_schedule(8), 4)
    with pytest.raises(ValueError, match=r"cannot start at alpha = 0.*log_snr or karras"):
        sample(SAMPLERS["euler_log_snr"], denoise, grid, torch.ones(1, 1))


@pytest.mark.parametrize("name", MARKOVIAN)
def test_a_markovian_sampler_without_noise_says_what_is_missing(name):
    denoise = gaussian_denoiser(scalar_gaussian(0.0, 1.0))
    grid = uniform_t_grid(cosine_schedule(8), 4)
    with pytest.raises(TypeError, match=r"noise \(N, B, d\) must be given"):
        sample(SAMPLERS[name], denoise, grid, torch.ones(1, 1).double())


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_batch_a_sample_is_drawn_in_changes_nothing(name):
    components = [
        Eigenbasis(np.full(16, mean), np.linspace(0.1, 1, 16), np.eye(16)) for mean in (-1.0, 1.0)
    ]
    denoise = mixture_denoiser(torch.tensor([0.4, 0.6]), components)
    grid = karras_grid(6, 80.0, 0.01)

    def draw(seeds):
        x_start, noise = walk_noise(seeds, 6, 16)
        return sample(SAMPLERS[name], denoise, grid, x_start.double(), noise.double())

    torch.testing.assert_close(draw(range(9))[4:6], draw([4, 5]), rtol=1e-12, atol=1e-12)


def test_the_noise_of_a_seed_is_standard_normal_and_its_own():
    start, steps = walk_noise(range(400), 5, 16)
    assert start.shape == (400, 16)
    assert steps.shape == (5, 400, 16)
    everything = torch.cat([start[None], steps]).flatten(start_dim=1)
    assert everything.mean().abs() < 0.03
    assert (torch.corrcoef(everything) - torch.eye(6)).abs().max() < 0.05
    torch.testing.assert_close(seeded_noise([7], 16)[0], start[7], rtol=0, atol=0)


@pytest.mark.parametrize("name", MARKOVIAN)
def test_markovian_samplers_reach_the_data_of_a_mixture(name):
    """Two narrow modes at -1 and 1 with weights 0.3 and 0.7, from 4,000 samples."""
    components = [scalar_gaussian(mean, 0.01) for mean in (-1.0, 1.0)]
    denoise = mixture_denoiser(torch.tensor([0.3, 0.7]), components)
    x_start, noise = walk_noise(range(4000), 100, 1)
    found = sample(SAMPLERS[name], denoise, karras_grid(100, 80.0, 0.01), x_start, noise)
    right = found[found > 0]
    # Three binomial spreads; the small variance loses a sixth of the spread in 100 steps.
    assert len(right) / 4000 == pytest.approx(0.7, abs=0.022)
    assert right.mean().item() == pytest.approx(1.0, abs=0.01)
    assert right.var().item() == pytest.approx(0.01, rel=0.2)


def test_deterministic_samplers_are_named_apart_from_markovian_ones():
    assert set(DETERMINISTIC) == set(ORDERS)
    assert not set(DETERMINISTIC) & set(MARKOVIAN)
