import numpy as np
import pytest
import pytorch_msssim
import scipy
import torch

from vae.ms_ssim import gaussian_taps, ms_ssim, scales_for, ssim

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, sec. 3.2


def images(seed: int, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(4, 3, 12, 12, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def numpy_ms_ssim(x: np.ndarray, y: np.ndarray, window: int, weights: tuple[float, ...]) -> float:
    """One channel, by the paper: contrast and structure of each scale once, luminance of the last.

    The window peaks at its centre and sums to one; only whole windows count.
    """
    reach = window // 2
    taps = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        inside = np.s_[reach:-reach]
        return scipy.ndimage.correlate1d(
            scipy.ndimage.correlate1d(image, taps, axis=0), taps, axis=1
        )[inside, inside]

    value = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        contrast_structure = (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        last = scale == len(weights) - 1
        similarity = contrast_structure * luminance if last else contrast_structure
        value *= max(similarity.mean(), 0.0) ** weight
        side = len(x) // 2
        x, y = (image.reshape(side, 2, side, 2).mean(axis=(1, 3)) for image in (x, y))
    return value


# Side, window and scales as the docstring states them.
SIZES = [(32, 3, 4), (48, 5, 4), (64, 3, 5), (96, 5, 5), (128, 7, 5)]


@pytest.mark.parametrize(("size", "window", "num_scales"), SIZES)
def test_ms_ssim_is_the_published_formula_at_every_size(size, window, num_scales):
    growth = sum(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS[:num_scales])
    weights = tuple(weight * growth for weight in SCALE_WEIGHTS[:num_scales])
    x = images(0, size).double()
    y = (0.8 * x + 0.2 * images(1, size)).clamp(0, 1)
    channels = zip(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy(), strict=True)
    values = [numpy_ms_ssim(*pair, window, weights) for pair in channels]
    expected = np.reshape(values, (4, 3)).mean(axis=1)
    np.testing.assert_allclose(ms_ssim(x, y).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(ms_ssim(x.float(), y.float()).numpy(), expected, rtol=2e-4)


@pytest.mark.parametrize("size", [64, 96, 128])
def test_values_and_gradients_are_those_of_pytorch_msssim(size):
    x = images(0, size).double()
    theirs, ours = (
        (0.5 * x + 0.5 * images(1, size)).clamp(0, 1).requires_grad_() for _ in range(2)
    )
    # Its own window is float32, so it gets one: 1e-8 of a window is 1e-5 of a gradient.
    reach = scales_for(size).window // 2
    window = torch.exp(-(torch.arange(-reach, reach + 1).double() ** 2) / (2 * 1.5**2))
    window = (window / window.sum()).expand(3, 1, 1, -1)
    expected = pytorch_msssim.ms_ssim(theirs, x, 1.0, size_average=False, win=window)
    found = ms_ssim(ours, x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    expected.sum().backward()
    found.sum().backward()
    scale = theirs.grad.abs().max()
    torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("size", "window", "num_scales"), SIZES)
def test_the_written_gradient_is_the_slope(size, window, num_scales):
    x, y = images(2, size).double()[:1], images(3, size).double()[:1]
    y = (0.5 * x + 0.5 * y).requires_grad_()
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).double()
    ms_ssim(y, x).sum().backward()
    with torch.no_grad():
        rise = ms_ssim(y + 1e-5 * direction, x) - ms_ssim(y - 1e-5 * direction, x)
    assert (y.grad * direction).sum().item() == pytest.approx(rise.item() / 2e-5, rel=1e-6)


def test_an_image_is_most_similar_to_itself():
    x = images(2)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(4))
    assert (ms_ssim(x, images(3)) < 0.9).all()


def test_ms_ssim_stays_float32_under_autocast():
    x, y = images(4), images(5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ms_ssim(x.bfloat16(), y.bfloat16())
    torch.testing.assert_close(inside, ms_ssim(x.bfloat16().float(), y.bfloat16().float()))


def test_the_window_peaks_at_its_centre_and_sums_to_one():
    for window in (3, 5, 7, 11):
        taps = gaussian_taps(window)
        assert len(taps) == window
        assert taps[window // 2] == max(taps)
        assert taps == pytest.approx(taps[::-1])
        assert sum(taps) == pytest.approx(1.0)


def test_a_gradient_that_would_be_left_out_is_refused():
    with pytest.raises(ValueError, match="constant"):
        ms_ssim(images(0), images(1).requires_grad_())


@pytest.mark.parametrize("size", [16, 31, 36])
def test_a_size_without_four_whole_scales_is_refused(size):
    with pytest.raises(ValueError, match=f"images of {size} pixels"):
        ms_ssim(torch.rand(1, 3, size, size), torch.rand(1, 3, size, size))


def test_the_single_scale_is_that_of_pytorch_msssim():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 3, 64, 64, generator=generator)
    y = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    expected = pytorch_msssim.ssim(x, y, data_range=1.0, size_average=False)
    torch.testing.assert_close(ssim(x, y), expected, rtol=1e-4, atol=1e-5)
