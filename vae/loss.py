"""The loss of the VAE: 1 - MS-SSIM + beta KL, with an optional L1 term."""

from typing import NamedTuple

from torch import Tensor

from vae.ms_ssim import ms_ssim


class VaeLoss(NamedTuple):
    """Scalars of one batch: ``total = reconstruction + beta * kl + l1_weight * l1``."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor  # nats per image
    l1: Tensor  # mean absolute difference of the pixels


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, per image and coordinate, (B, d) -> (B, d).

        kl = (mu**2 + exp(log_var) - 1 - log_var) / 2

    Kingma & Welling 2014 (arXiv:1312.6114), App. B.
    """
    mu, log_var = mu.float(), log_var.float()
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def vae_loss(
    reconstruction: Tensor,
    images: Tensor,
    mu: Tensor,
    log_var: Tensor,
    beta: float,
    l1_weight: float = 0.0,
) -> VaeLoss:
    """Batch means of ``1 - MS-SSIM + beta KL`` ([OM] App. K), plus the weighted L1 term."""
    dissimilarity = 1.0 - ms_ssim(reconstruction, images).mean()
    kl = kl_to_standard_normal(mu, log_var).sum(dim=1).mean()
    if l1_weight == 0.0:
        # A zero is free; computing an unused difference would cost a pass over the pixels.
        return VaeLoss(dissimilarity + beta * kl, dissimilarity, kl, kl.new_zeros(()))
    l1 = (reconstruction - images).abs().mean()
    return VaeLoss(dissimilarity + beta * kl + l1_weight * l1, dissimilarity, kl, l1)
