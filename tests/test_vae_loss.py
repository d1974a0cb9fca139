import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from vae.loss import kl_to_standard_normal, ms_ssim, vae_loss

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, sec. 3.2


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(4, 3, 12, 12, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


def numpy_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """One channel, by the paper: contrast and structure of each scale once, luminance of the last.

    The window peaks at its centre and sums to one; only whole windows count.
    """
    taps = np.exp(-(np.array([-1.0, 0.0, 1.0]) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, taps, axis=0), taps, axis=1)[1:-1, 1:-1]

    value = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        contrast_structure = (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        last = scale == len(SCALE_WEIGHTS) - 1
        similarity = contrast_structure * luminance if last else contrast_structure
        value *= max(similarity.mean(), 0.0) ** weight
        side = len(x) // 2
        x, y = (image.reshape(side, 2, side, 2).mean(axis=(1, 3)) for image in (x, y))
    return value


def test_ms_ssim_is_the_published_formula():
    x = images(0)
    y = (0.8 * x + 0.2 * images(1)).clamp(0, 1)
    channels = zip(x.double().flatten(0, 1).numpy(), y.double().flatten(0, 1).numpy(), strict=True)
    expected = np.reshape([numpy_ms_ssim(*pair) for pair in channels], (4, 3)).mean(axis=1)
    np.testing.assert_allclose(ms_ssim(x, y).numpy(), expected, rtol=2e-4)  # float32 differences


def test_an_image_is_most_similar_to_itself():
    x = images(2)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(4))
    assert (ms_ssim(x, images(3)) < 0.9).all()


def test_ms_ssim_stays_float32_under_autocast():
    x, y = images(4), images(5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ms_ssim(x.bfloat16(), y.bfloat16())
    torch.testing.assert_close(inside, ms_ssim(x.bfloat16().float(), y.bfloat16().float()))


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
