import math

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis, eigenbasis
from diffusion.denoisers import gaussian_denoiser, mixture_denoiser
from diffusion.grid import uniform_log_snr_grid
from diffusion.samplers import dpmpp_2m, sample
from experiment.seeds import seeded_noise
from sampling.noise_estimator import NoiseEstimator
from sampling.train import calibrate

BATCH = 256
LEVELS = [(0.0, 1.0), (0.3, math.sqrt(0.91)), (0.8, 0.6), (0.9999, math.sqrt(1 - 0.9999**2))]


def skewed_gaussian(dim: int = 6) -> Eigenbasis:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(dim, dim)) / math.sqrt(dim)
    return eigenbasis(rng.normal(size=dim), root @ root.T)


def with_random_weights(data: Eigenbasis) -> NoiseEstimator:
    torch.manual_seed(0)
    model = NoiseEstimator(data, width=16, depth=2).eval().requires_grad_(False)
    for parameter in model.mlp.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def fit(model: NoiseEstimator, draw, num_updates: int) -> None:
    """[SCH] eq. 19 with t uniform on the cosine schedule, in place."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for update in range(num_updates):
        x_0 = draw(BATCH, generator)
        angle = math.pi / 2 * torch.rand(BATCH, 1, generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        alpha, sigma = angle.cos(), angle.sin()
        loss = (model(alpha * x_0 + sigma * eps, alpha, sigma).eps - eps).square().sum(1).mean()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - update / num_updates)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def error(denoise, exact, x_0, alpha, sigma) -> float:
    """Mean squared error of x_0-hat to the exact one's on noised data."""
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(2))
    x_t = alpha * x_0 + sigma * eps
    with torch.no_grad():
        return (
            (denoise(x_t, alpha, sigma).x_0 - exact(x_t, alpha, sigma).x_0).square().mean().item()
        )


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_before_training_it_is_the_closed_form_gaussian_denoiser(alpha, sigma):
    data = skewed_gaussian()
    x_t = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    found = NoiseEstimator(data, width=8, depth=1).denoise(x_t, alpha, sigma)
    expected = gaussian_denoiser(data)(x_t.double(), alpha, sigma)
    for half, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(half.double(), exact, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_whatever_its_weights_both_halves_make_up_x_t(alpha, sigma):
    model = with_random_weights(skewed_gaussian())
    x_t = torch.randn(20, 6)
    x_0, eps = model.denoise(x_t, alpha, sigma)
    torch.testing.assert_close(alpha * x_0 + sigma * eps, x_t, rtol=1e-4, atol=1e-5)
    level = torch.tensor([[alpha], [sigma]])
    gaussian = model.gaussian(x_t, level[:1], level[1:])
    assert alpha == 0 or (x_0 - gaussian.x_0).abs().max() > 1e-3


def test_from_pure_noise_it_can_only_say_the_mean():
    data = skewed_gaussian()
    x_0, eps = with_random_weights(data).denoise(torch.randn(3, 6), 0.0, 1.0)
    torch.testing.assert_close(x_0, torch.from_numpy(data.mean).float().expand(3, 6))
    assert eps.isfinite().all()


def test_a_sample_is_estimated_alone():
    model = with_random_weights(skewed_gaussian())
    x_t = torch.randn(9, 6)
    together = model.denoise(x_t, 0.6, 0.8).eps[3:5]
    torch.testing.assert_close(model.denoise(x_t[3:5], 0.6, 0.8).eps, together)


def test_on_gaussian_data_it_learns_the_closed_form_from_a_wrong_start():
    """Its Gaussian part is of N(0, I), the data are not: what is missing is learned."""
    data = Eigenbasis(np.array([0.5, -0.3, 0.0]), np.array([0.2, 0.6, 1.5]), np.eye(3))
    torch.manual_seed(0)
    model = NoiseEstimator(Eigenbasis(np.zeros(3), np.ones(3), np.eye(3)), width=48, depth=1)
    wrong = gaussian_denoiser(Eigenbasis(np.zeros(3), np.ones(3), np.eye(3)))
    scale, mean = torch.tensor([0.2, 0.6, 1.5]).sqrt(), torch.tensor([0.5, -0.3, 0.0])

    def draw(count, generator):
        return mean + scale * torch.randn(count, 3, generator=generator)

    fit(model, draw, num_updates=400)
    x_0 = draw(2_000, torch.Generator().manual_seed(3))
    for alpha, sigma in LEVELS[1:3]:
        exact = gaussian_denoiser(data)
        learned = error(model.denoise, exact, x_0, alpha, sigma)
        assert learned < (0.1 if alpha > 0.5 else 0.25) * error(wrong, exact, x_0, alpha, sigma)


def test_on_a_mixture_it_learns_what_no_gaussian_can():
    modes = [Eigenbasis(np.array([c, 0.0]), np.full(2, 0.05), np.eye(2)) for c in (-1.0, 1.0)]
    exact = mixture_denoiser(torch.tensor([0.5, 0.5]), modes)
    fitted = Eigenbasis(np.zeros(2), np.array([1.05, 0.05]), np.eye(2))
    torch.manual_seed(0)
    model = NoiseEstimator(fitted, width=48, depth=1)

    def draw(count, generator):
        side = torch.randint(0, 2, (count, 1), generator=generator) * 2.0 - 1
        noise = math.sqrt(0.05) * torch.randn(count, 2, generator=generator)
        return noise + side * torch.tensor([1.0, 0.0])

    fit(model, draw, num_updates=400)
    x_0 = draw(2_000, torch.Generator().manual_seed(3))
    gaussian = error(gaussian_denoiser(fitted), exact, x_0, 0.8, 0.6)
    assert error(model.denoise, exact, x_0, 0.8, 0.6) < 0.1 * gaussian


def test_directions_without_data_do_not_break_it():
    data = Eigenbasis(np.zeros(3), np.array([0.0, 0.5, 1.0]), np.eye(3))
    x_0, eps = with_random_weights(data).denoise(torch.randn(4, 3), 0.9999, math.sqrt(2e-4))
    assert x_0.isfinite().all()
    assert eps.isfinite().all()


def test_calibration_gives_the_flow_the_moments_of_the_data():
    """A network with random weights bends the flow; its samples' moments are mended, not its F."""
    data = skewed_gaussian()
    model = with_random_weights(data)
    for layer in (model.mlp.read_out, model.mlp.gain):
        layer.weight.mul_(0.03)
        layer.bias.mul_(0.009)
    x_T = seeded_noise(range(2_000), 6)
    grid = uniform_log_snr_grid(40, 20.0, 0.02)

    def moments() -> tuple[float, float]:
        x_0 = (sample(dpmpp_2m, model.denoise, grid, x_T) - model.mean) @ model.basis
        ratio = x_0.var(dim=0) / model.variances
        return (x_0.mean(dim=0) / model.variances.sqrt()).norm().item(), (
            ratio - 1
        ).abs().max().item()

    shift, excess = moments()
    calibrate(model, seed=5)
    # Of 2,000 samples: two to three standard errors of means and variances.
    mended_shift, mended_excess = moments()
    assert mended_shift < 0.12 < shift
    assert mended_excess < 0.12 < excess
    assert torch.equal(model.variances, torch.from_numpy(data.variances).float())
