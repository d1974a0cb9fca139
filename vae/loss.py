"""The VAE's objective, 1 - MS-SSIM + beta KL, and the similarity it is measured by."""

from typing import NamedTuple

import pytorch_msssim
import torch
from torch import Tensor

# The package insists on side > 16 (window - 1) for its five scales: 3 is all that 64 px allow.
WINDOW = 3


class VaeLoss(NamedTuple):
    """Scalars of one batch: ``total = reconstruction + beta * kl``."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor  # nats per image


def ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Multi-scale structural similarity of two batches in [0, 1], (B, 3, 64, 64) -> (B,).

    Wang, Simoncelli & Bovik 2003, eq. 7, by ``pytorch-msssim``: five scales, a Gaussian window of
    3 taps (sigma 1.5), float32 whatever autocast is on.
    """
    with torch.autocast(images.device.type, enabled=False):
        return pytorch_msssim.ms_ssim(
            images.float(), others.float(), data_range=1.0, size_average=False, win_size=WINDOW
        )


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, per image and coordinate, (B, d) -> (B, d).

        kl = (mu**2 + exp(log_var) - 1 - log_var) / 2

    Kingma & Welling 2014 (arXiv:1312.6114), App. B.
    """
    mu, log_var = mu.float(), log_var.float()
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def vae_loss(
    reconstruction: Tensor, images: Tensor, mu: Tensor, log_var: Tensor, beta: float
) -> VaeLoss:
    """Batch means of ``1 - MS-SSIM + beta KL`` ([OM] App. K)."""
    dissimilarity = 1.0 - ms_ssim(reconstruction, images).mean()
    kl = kl_to_standard_normal(mu, log_var).sum(dim=1).mean()
    return VaeLoss(dissimilarity + beta * kl, dissimilarity, kl)
