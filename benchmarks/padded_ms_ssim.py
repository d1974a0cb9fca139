"""The MS-SSIM loss of PyTorch-VAE's recipe, as a baseline: 11 taps, zero padding, five scales."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from vae.ms_ssim import CONTRAST_FLOOR, LUMINANCE_FLOOR, SCALE_WEIGHTS, gaussian_taps

WINDOW = 11


def padded_ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Similarity of two batches in [0, 1], (B, 3, S, S) -> scalar.

    As in PyTorch-VAE's ``mssim_vae.py``, full 2-d windows, each map filtered by a grouped
    convolution of its own, but with the window that peaks at its centre, the luminance at the last
    scale alone and the published weights.
    """
    taps = torch.tensor(gaussian_taps(WINDOW), device=images.device)
    window = torch.outer(taps, taps).expand(images.shape[1], 1, WINDOW, WINDOW).contiguous()

    def blur(maps: Tensor) -> Tensor:
        return conv2d(maps, window, padding=WINDOW // 2, groups=maps.shape[1])

    product = images.new_ones(())
    for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
        mean_x, mean_y = blur(images), blur(others)
        var_x = blur(images * images) - mean_x.square()
        var_y = blur(others * others) - mean_y.square()
        covariance = blur(images * others) - mean_x * mean_y
        similarity = (2 * covariance + CONTRAST_FLOOR) / (var_x + var_y + CONTRAST_FLOOR)
        if scale == len(SCALE_WEIGHTS):
            means = mean_x.square() + mean_y.square()
            similarity = (
                similarity * (2 * mean_x * mean_y + LUMINANCE_FLOOR) / (means + LUMINANCE_FLOOR)
            )
        product = product * similarity.mean().clamp(min=0.0) ** weight
        images, others = avg_pool2d(images, 2), avg_pool2d(others, 2)
    return product
