"""The exact denoisers against autograd and quadrature, and the conversions against x_t itself."""

import math

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis, eigenbasis
from diffusion.denoisers import denoiser_of, estimate_from, gaussian_denoiser, mixture_denoiser

ALPHA, SIGMA = 0.6, 0.8


def random_gaussian(seed: int, dim: int) -> Eigenbasis:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dim, dim))
    return eigenbasis(rng.normal(size=dim), root @ root.T / dim)


def covariance_of(data: Eigenbasis) -> torch.Tensor:
    return torch.from_numpy((data.basis * data.variances) @ data.basis.T)


def noised_log_density(components, weights, alpha, sigma):
    """log q_t from torch.distributions, an implementation of its own."""
    means = torch.stack([alpha * torch.from_numpy(data.mean) for data in components])
    eye = torch.eye(means.shape[1], dtype=torch.float64)
    covariances = torch.stack(
        [alpha**2 * covariance_of(data) + sigma**2 * eye for data in components]
    )
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights),
        torch.distributions.MultivariateNormal(means, covariances),
    ).log_prob


@pytest.mark.parametrize(("alpha", "sigma"), [(0.05, None), (0.6, 0.8), (0.999, None)])
@pytest.mark.parametrize("count", [1, 3])
def test_exact_estimates_are_the_score_of_the_noised_density(alpha, sigma, count):
    """Tweedie: eps = -sigma grad log q_t, and x_t = alpha x_0 + sigma eps. [SCH] eq. 31."""
    sigma = sigma or math.sqrt(1 - alpha**2)
    components = [random_gaussian(seed, dim=4) for seed in range(count)]
    weights = torch.arange(1.0, count + 1, dtype=torch.float64)
    weights /= weights.sum()
    x_t = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x_t = (2 * x_t).requires_grad_()
    density = noised_log_density(components, weights, alpha, sigma)(x_t)
    (score,) = torch.autograd.grad(density.sum(), x_t)
    denoise = mixture_denoiser(weights, components)
    if count == 1:
        denoise = gaussian_denoiser(components[0])
    x_0, eps = denoise(x_t.detach(), alpha, sigma)
    torch.testing.assert_close(eps, -sigma * score, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(alpha * x_0 + sigma * eps, x_t.detach())


def test_the_mixtures_estimate_is_the_posterior_mean_by_quadrature():
    components = [
        Eigenbasis(np.array([m]), np.array([v]), np.eye(1)) for m, v in ((-1, 0.1), (2, 0.5))
    ]
    weights = torch.tensor([0.3, 0.7])
    x_t, x_0 = 0.4, np.linspace(-8, 8, 20_001)
    prior = sum(
        w * np.exp(-((x_0 - data.mean) ** 2) / (2 * data.variances)) / np.sqrt(data.variances)
        for w, data in zip(weights.tolist(), components, strict=True)
    )
    posterior = prior * np.exp(-((x_t - ALPHA * x_0) ** 2) / (2 * SIGMA**2))
    expected = (posterior * x_0).sum() / posterior.sum()
    found = mixture_denoiser(weights, components)(torch.tensor([[x_t]]).double(), ALPHA, SIGMA)
    assert found.x_0.item() == pytest.approx(expected, rel=1e-6)


def test_far_from_every_component_the_mixture_stays_finite():
    components = [random_gaussian(seed, dim=3) for seed in range(2)]
    far = torch.full((1, 3), 1e4)
    x_0, eps = mixture_denoiser(torch.tensor([0.5, 0.5]), components)(far, 0.999, 0.0447)
    assert x_0.isfinite().all()
    assert eps.isfinite().all()


def test_without_data_variance_the_estimate_is_the_mean():
    data = Eigenbasis(np.array([1.5, -2.0]), np.zeros(2), np.eye(2))
    x_0, _ = gaussian_denoiser(data)(torch.randn(5, 2), ALPHA, SIGMA)
    torch.testing.assert_close(x_0, torch.tensor([[1.5, -2.0]]).expand(5, 2))


@pytest.mark.parametrize("prediction", ["eps", "x_0", "v"])
def test_every_kind_of_prediction_gives_back_both_halves_of_x_t(prediction):
    x_0, eps = torch.randn(2, 8, 3, dtype=torch.float64).unbind()
    truth = {"eps": eps, "x_0": x_0, "v": ALPHA * eps - SIGMA * x_0}
    x_t = ALPHA * x_0 + SIGMA * eps
    denoise = denoiser_of(lambda x, alpha, sigma: truth[prediction], prediction)
    found = denoise(x_t, ALPHA, SIGMA)
    torch.testing.assert_close(found.x_0, x_0)
    torch.testing.assert_close(found.eps, eps)


@pytest.mark.parametrize("prediction", ["x_0", "v"])
def test_at_pure_noise_predictions_of_x_0_and_v_still_say_everything(prediction):
    x_0, eps = torch.randn(2, 8, 3).unbind()
    output = {"x_0": x_0, "v": -x_0}[prediction]
    found = estimate_from(prediction, output, eps, 0.0, 1.0)
    torch.testing.assert_close(found.x_0, x_0)
    torch.testing.assert_close(found.eps, eps)


def test_impossible_conversions_are_refused_with_the_mend():
    x_t = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="alpha = 0; start the grid below pure noise, or predict"):
        estimate_from("eps", x_t, x_t, 0.0, 1.0)
    with pytest.raises(ValueError, match="sigma = 0"):
        estimate_from("x_0", x_t, x_t, 1.0, 0.0)
    with pytest.raises(ValueError, match="must be eps, x_0 or v, got score"):
        estimate_from("score", x_t, x_t, 0.6, 0.8)


def test_weights_that_are_no_distribution_are_refused():
    with pytest.raises(ValueError, match="add up to 1"):
        mixture_denoiser(torch.tensor([0.5, 0.6]), [random_gaussian(0, 2), random_gaussian(1, 2)])
    with pytest.raises(ValueError, match="2 components need"):
        mixture_denoiser(torch.tensor([1.0]), [random_gaussian(0, 2), random_gaussian(1, 2)])
