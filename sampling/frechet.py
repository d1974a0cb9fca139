"""The Fréchet distance of two samples: that of FID, with features of the VAE's own encoder."""

import torch
from torch import Tensor


def frechet_distance(samples: Tensor, others: Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to two samples, in float64.

        |m - m'|**2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)

    Heusel et al. 2017 (arXiv:1706.08500), eq. 6, with unbiased covariances: the squared W2 of two
    Gaussians (Dowson & Landau 1982). Their (C C')^1/2 has the same trace. The product here is
    symmetric, so its root needs only eigenvalues of symmetric matrices. Eigenvalues that rounding
    makes negative count as 0. So no iterative and no complex matrix root is needed.

    Args:
        samples, others: Features (N, d) and (M, d) with at least two rows.
    """
    (mean, covariance), (mean_, covariance_) = (_moments(part) for part in (samples, others))
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    product = root @ covariance_ @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0.0).sqrt().sum()
    spread = covariance.trace() + covariance_.trace() - 2 * overlap
    return max(0.0, ((mean - mean_).square().sum() + spread).item())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.double()
    return features.mean(dim=0), torch.cov(features.T).reshape(2 * features.shape[1:])
