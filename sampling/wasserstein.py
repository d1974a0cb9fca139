"""Sliced Wasserstein-2: how far two clouds of latents are apart, seen along many directions."""

import torch
from torch import Tensor


def random_directions(count: int, dim: int, seed: int) -> Tensor:
    """Unit vectors, uniform on the sphere, as columns, (dim, count) float32."""
    columns = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).T
    return columns / columns.norm(dim=0)


def sliced_w2_squared(samples: Tensor, others: Tensor, directions: Tensor) -> Tensor:
    """Squared W2 between the projections of two samples, (P,), one a direction; exact.

        W2**2 = integral over u in (0, 1) of (Q(u) - Q'(u))**2,  Q the empirical quantiles

    Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".

    Args:
        samples, others: (N, d) and (M, d); N and M may differ.
        directions: Columns, (d, P), of unit length unless directions shall count differently.
    """
    projected, other = (part @ directions for part in (samples, others))
    rows, columns = len(projected), len(other)
    # Both quantile functions are constant between the ends i/N and j/M: whole numbers over NM.
    ends = torch.cat(
        [torch.arange(1, rows + 1) * columns, torch.arange(1, columns + 1) * rows]
    ).unique()
    weights = ends.diff(prepend=ends.new_zeros(1)).float() / (rows * columns)
    place, other_place = (ends - 1) // columns, (ends - 1) // rows
    gaps = projected.sort(dim=0).values[place] - other.sort(dim=0).values[other_place]
    return weights @ gaps.square()
