import pytest
import torch

from vae.loss import kl_to_standard_normal, vae_loss


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(4, 3, 12, 12, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


def test_kl_is_that_of_the_normal_distributions():
    mu, log_var = torch.randn(5, 7), torch.randn(5, 7)
    posterior = torch.distributions.Normal(mu, (log_var / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(5, 7), torch.ones(5, 7))
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(kl_to_standard_normal(mu, log_var), expected)


def test_the_loss_adds_beta_times_the_nats_of_an_image():
    x, mu, log_var = images(6), torch.ones(4, 128), torch.zeros(4, 128)
    loss = vae_loss(x, x, mu, log_var, beta=0.01)
    assert loss.kl.item() == pytest.approx(64.0)  # 128 coordinates of mu**2 / 2
    assert loss.reconstruction.item() == pytest.approx(0.0, abs=1e-6)
    assert loss.total.item() == pytest.approx(0.64, abs=1e-6)


def test_the_l1_term_is_the_weighted_mean_absolute_difference():
    x, zeros = images(7), torch.zeros(4, 128)
    plain = vae_loss(x, x.flip(0), zeros, zeros, beta=0.0)
    loss = vae_loss(x, x.flip(0), zeros, zeros, beta=0.0, l1_weight=0.5)
    difference = (x - x.flip(0)).abs().mean()
    torch.testing.assert_close(loss.l1, difference)
    torch.testing.assert_close(loss.total, plain.total + 0.5 * difference)
