"""Sliced Wasserstein-2 between clouds of latents, and whether samples beat a Gaussian."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sampling.noise_estimator import NoiseEstimator


def random_directions(count: int, dim: int, seed: int) -> Tensor:
    """Unit vectors, uniform on the sphere, as columns, (dim, count) float32."""
    columns = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).T
    return columns / columns.norm(dim=0)


def sliced_w2_squared(samples: Tensor, others: Tensor, directions: Tensor) -> Tensor:
    """Exact squared W2 between the projections of two samples, (P,), one value per direction.

        W2**2 = integral over u in (0, 1) of (Q(u) - Q'(u))**2,  Q the empirical quantiles

    Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".

    Args:
        samples, others: (N, d) and (M, d); N and M may differ.
        directions: Columns, (d, P). Their lengths weigh the directions; unit vectors weigh equally.
    """
    projected, other = (part @ directions for part in (samples, others))
    rows, columns = len(projected), len(other)
    # Both quantile functions are constant between the points i/N and j/M, multiples of 1/(NM).
    ends = torch.cat(
        [torch.arange(1, rows + 1) * columns, torch.arange(1, columns + 1) * rows]
    ).unique()
    weights = ends.diff(prepend=ends.new_zeros(1)).float() / (rows * columns)
    place, other_place = (ends - 1) // columns, (ends - 1) // rows
    gaps = projected.sort(dim=0).values[place] - other.sort(dim=0).values[other_place]
    return weights @ gaps.square()


FOLDS = 20
NUM_DIRECTIONS = 500


@dataclass(frozen=True)
class Margin:
    """Sliced W2**2 of a reference and of the samples to the held-out latents."""

    reference: float
    samples: float
    standard_error: float  # error of reference - samples, due to the choice of held-out latents


def margin(samples: Tensor, reference: Tensor, held_out: Tensor, directions: Tensor) -> Margin:
    """Sliced W2**2 of both samples, and the jackknife standard error of the difference.

        error**2 = (K - 1) / K sum_k (difference without fold k - their mean)**2

    Args:
        samples, reference, held_out: (N, d), (N, d), (M, d). Equal N, because sampling noise adds
        to W2. directions: (d, P), the same for both, so that common errors cancel.
    """

    def both(others: Tensor) -> list[float]:
        clouds = (reference, samples)
        return [sliced_w2_squared(cloud, others, directions).mean().item() for cloud in clouds]

    fold = torch.arange(len(held_out)) % FOLDS
    without = torch.tensor([both(held_out[fold != k]) for k in range(FOLDS)])
    differences = without[:, 0] - without[:, 1]
    error = ((FOLDS - 1) * differences.var(correction=0)).sqrt().item()
    theirs, ours = both(held_out)
    return Margin(theirs, ours, error)


def margins(
    estimator: NoiseEstimator, samples: Tensor, reference: Tensor, held_out: Tensor, seed: int
) -> dict[str, Margin]:
    """Margins along two kinds of directions.

    The first kind are random directions, along which sums of many coordinates look Gaussian for any
    latents. The second are the principal directions of the training latents, scaled to unit
    variance.
    """
    kinds = {
        "random directions": random_directions(NUM_DIRECTIONS, held_out.shape[1], seed),
        "principal directions": (estimator.basis / estimator.variances.sqrt()).cpu(),
    }
    return {
        name: margin(samples, reference, held_out, directions) for name, directions in kinds.items()
    }
