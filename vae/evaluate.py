"""How well a VAE reconstructs faces that it was not trained on."""

import torch
from torch import Tensor

from vae.loss import kl_to_standard_normal, ms_ssim
from vae.model import VAE
from vae.pixels import to_float

BATCH_SIZE = 256


@torch.no_grad()
def evaluate(model: VAE, images: Tensor) -> dict[str, float]:
    """Reconstruct from the posterior mean, without flips; the model is left in evaluation mode.

    Args:
        images: uint8 (N, 64, 64, 3), on the model's device.

    Returns:
        Means over the images: ``ms_ssim`` (3-tap window), ``psnr`` in dB (of each image, then
        averaged), ``kl`` in nats; and ``active_units``, the coordinates whose posterior mean
        varies by more than 0.01 (Burda et al. 2016, arXiv:1509.00519, sec. 5.2).
    """
    model.eval()
    similarity, psnr, kl, means = [], [], [], []
    for chunk in images.split(BATCH_SIZE):
        batch = to_float(chunk)
        mu, log_var = model.encode(batch)
        reconstruction = model.decode(mu)
        similarity.append(ms_ssim(reconstruction, batch))
        psnr.append(-10.0 * (reconstruction - batch).square().mean(dim=(1, 2, 3)).log10())
        kl.append(kl_to_standard_normal(mu, log_var).sum(dim=1))
        means.append(mu)
    variances = torch.cat(means).var(dim=0, correction=0)
    return {
        "ms_ssim": torch.cat(similarity).mean().item(),
        "psnr": torch.cat(psnr).mean().item(),
        "kl": torch.cat(kl).mean().item(),
        "active_units": int((variances > 0.01).sum()),
    }
