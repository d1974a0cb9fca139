"""Multi-scale structural similarity, exact and fast: sums of shifted images, no convolution."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import avg_pool2d

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, sec. 3.2
SIGMA = 1.5  # width of the Gaussian window in pixels
MAX_WINDOW = 11
LUMINANCE_FLOOR, CONTRAST_FLOOR = 0.01**2, 0.03**2  # of values in [0, 1]


@dataclass(frozen=True)
class Scales:
    """Window and weights of the scales for an image size."""

    window: int  # taps
    weights: tuple[float, ...]  # finest scale first


def scales_for(image_size: int) -> Scales:
    """Five scales if the coarsest has room for 2 x 2 windows of 3 taps, else four.

    The window has the largest odd number of taps, at most 11, that leaves 2 x 2 positions on the
    coarsest scale: 3 for 64 pixels, 5 for 96, 7 for 128. Smaller images have no fifth scale, and
    the
    other weights are enlarged to the same sum: four scales of 3 taps for 32 pixels, of 5 for 48.

    Raises:
        ValueError: the side is not a multiple of 8, or below 32 pixels.
    """
    for num_scales in (5, 4):
        halvings = 2 ** (num_scales - 1)
        room = image_size // halvings - 1
        if room >= 3 and image_size % halvings == 0:
            growth = sum(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS[:num_scales])
            weights = tuple(weight * growth for weight in SCALE_WEIGHTS[:num_scales])
            return Scales(min(MAX_WINDOW, room - 1 + room % 2), weights)
    raise ValueError(f"images of {image_size} pixels do not halve into four scales of 4 or more")


def gaussian_taps(window: int) -> tuple[float, ...]:
    """Samples of the Gaussian around its centre, with sum 1."""
    places = [tap - window // 2 for tap in range(window)]
    values = [math.exp(-(place**2) / (2 * SIGMA**2)) for place in places]
    return tuple(value / sum(values) for value in values)


def ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Multi-scale structural similarity of two batches in [0, 1], (B, C, S, S) -> (B,).

        MS-SSIM = l_M**w_M * prod_j cs_j**w_j

    Wang, Simoncelli & Bovik 2003, eq. 7, for each channel, then averaged: cs_j is the mean of
    contrast times structure at scale j, times the luminance l at the coarsest scale M. Negative
    means count as 0. ``scales_for`` gives window and weights. The result is computed in float32
    even under autocast, and in float64 for float64 input. It agrees with ``pytorch-msssim`` for the
    sizes that this package accepts. Only ``images`` can have a gradient.

    Raises:
        ValueError: the size does not allow four scales, or ``others`` requires a gradient.
    """
    if others.requires_grad:
        raise ValueError("the second batch is a constant here; detach it")
    scales = scales_for(images.shape[-1])
    taps = gaussian_taps(scales.window)
    with torch.autocast(images.device.type, enabled=False):
        if images.dtype != torch.float64:
            images, others = images.float(), others.float()
        images, others = images.contiguous(), others.contiguous()
        product = images.new_ones(images.shape[:2])
        for scale, weight in enumerate(scales.weights, start=1):
            if scale < len(scales.weights):
                similarity = _ContrastStructure.apply(images, others, taps)
                images, others = avg_pool2d(images, 2), avg_pool2d(others, 2)
            else:
                similarity = _ssim(images, others, taps)
            product = product * similarity.clamp(min=0.0) ** weight
        return product.mean(dim=1)


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity at the finest scale only, (B, C, S, S) in [0, 1] -> (B,).

    Wang et al. 2004 with their window of 11 taps, mean over channels. Images need 11 pixels or
    more.
    """
    return _ssim(images, others, gaussian_taps(MAX_WINDOW)).mean(dim=1)


def _blur(maps: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Weighted means under the window at all positions, (..., S, S) -> (..., P, P)."""
    for dim in (-1, -2):
        places = maps.shape[dim] - len(taps) + 1
        blurred = maps.narrow(dim, 0, places) * taps[0]
        for start, tap in enumerate(taps[1:], start=1):
            blurred.add_(maps.narrow(dim, start, places), alpha=tap)
        maps = blurred
    return maps


def _blur_adjoint(maps: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Transpose of ``_blur``, (..., P, P) -> (..., S, S)."""
    for dim in (-1, -2):
        places = maps.shape[dim]
        shape = list(maps.shape)
        shape[dim] += len(taps) - 1
        spread = maps.new_zeros(shape)
        for start, tap in enumerate(taps):
            spread.narrow(dim, start, places).add_(maps, alpha=tap)
        maps = spread
    return maps


class _Kept(FunctionCtx):
    """Tensors that the forward pass keeps for the gradient."""

    saved_tensors: tuple[Tensor, ...]
    taps: tuple[float, ...]


class _ContrastStructure(torch.autograd.Function):
    """Mean of (2 cov(x, y) + C) / (var x + var y + C) over the windows, (B, C, S, S) -> (B, C).

    The gradient in x is written by hand: autograd would keep and read three times as many maps.
    """

    @staticmethod
    def forward(ctx: _Kept, x: Tensor, y: Tensor, taps: tuple[float, ...]) -> Tensor:
        squares = torch.addcmul(x * x, y, y)
        mean_x, mean_y, mean_squares, mean_xy = _blur(torch.stack([x, y, squares, x * y]), taps)
        spread = mean_squares.addcmul_(mean_x, mean_x, value=-1.0)
        spread.addcmul_(mean_y, mean_y, value=-1.0).add_(CONTRAST_FLOOR)
        covariance = mean_xy.addcmul_(mean_x, mean_y, value=-1.0)
        similarity = covariance.mul_(2.0).add_(CONTRAST_FLOOR).div_(spread)
        ctx.save_for_backward(x, y, mean_x, mean_y, similarity, spread)
        ctx.taps = taps
        return similarity.mean(dim=(2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, grad: Tensor) -> tuple[Tensor, None, None]:
        x, y, mean_x, mean_y, similarity, spread = ctx.saved_tensors
        places = spread.shape[-1] * spread.shape[-2]
        # similarity = covariance / spread, where covariance = 2 (mean_xy - mean_x mean_y) + C.
        of_covariance = (grad / places)[:, :, None, None] / spread
        of_spread = -of_covariance * similarity
        of_mean_x = torch.addcmul(of_covariance * mean_y, of_spread, mean_x).mul_(-2.0)
        maps = _blur_adjoint(torch.stack([of_mean_x, of_covariance, of_spread]), ctx.taps)
        return maps[0].addcmul_(maps[1], y, value=2.0).addcmul_(maps[2], x, value=2.0), None, None


def _ssim(x: Tensor, y: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Mean over the windows of luminance, contrast and structure, (B, C, S, S) -> (B, C)."""
    mean_x, mean_y, squares, mean_xy = _blur(torch.stack([x, y, x * x + y * y, x * y]), taps)
    means = mean_x * mean_x + mean_y * mean_y
    both = mean_x * mean_y
    luminance = (2.0 * both + LUMINANCE_FLOOR) / (means + LUMINANCE_FLOOR)
    contrast_structure = (2.0 * (mean_xy - both) + CONTRAST_FLOOR) / (
        squares - means + CONTRAST_FLOOR
    )
    return (luminance * contrast_structure).mean(dim=(2, 3))
