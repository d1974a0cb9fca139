"""Mean and covariance of any number of rows, in one pass over chunks of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of N rows of d coordinates, divided by N."""

    count: int
    """N."""
    mean: Array
    """(d,)."""
    variances: Array
    """(d,)."""
    covariance: Array | None
    """(d, d); None if only the variances were computed."""


def streamed_moments(chunks: Iterable[Array], full: bool = True) -> Moments:
    """The moments of all rows of ``chunks``, each (n, d) in float64.

    Let n_a and n_b rows have the means m_a, m_b and the centred sums of squares S_a, S_b. Then the
    centred sum of squares of all these rows is

        S = S_a + S_b + n_a n_b / (n_a + n_b) (m_b - m_a)(m_b - m_a)^T

    Chan, Golub & LeVeque 1983 (The American Statistician 37). The first row is subtracted from all
    before, so a mean that is large beside the deviations costs no digits, and the variance of a
    constant coordinate is exactly 0.

    Args:
        full: Whether to compute the whole covariance, and not only its diagonal.

    Raises:
        ValueError: there is no row.
    """
    count, shift = 0, np.zeros(0)
    mean = sums = shift
    for rows in chunks:
        if not len(rows):
            continue
        if count == 0:
            shift = rows[0].copy()
            mean = np.zeros_like(shift)
            sums = np.zeros((len(shift), len(shift)) if full else len(shift))
        moved = rows - shift
        own_mean = moved.mean(axis=0)
        moved -= own_mean
        gap, total = own_mean - mean, count + len(rows)
        weight = count * len(rows) / total
        if full:
            sums += moved.T @ moved
            sums += np.multiply.outer(weight * gap, gap)
        else:
            sums += np.square(moved).sum(axis=0) + weight * np.square(gap)
        mean = mean + gap * (len(rows) / total)
        count = total
    if count == 0:
        raise ValueError("moments of no rows")
    sums /= count
    if not full:
        return Moments(count, shift + mean, sums, None)
    return Moments(count, shift + mean, sums.diagonal().copy(), sums)
