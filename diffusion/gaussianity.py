"""Moments of data, and how well independent Gaussian coordinates describe it.

All planning assumes such coordinates.
"""

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


MOST_OFF_DIAGONAL = 0.2
"""Share of the covariance's energy off the diagonal above which coordinates count as correlated."""
LARGE_SKEWNESS = 0.5
LARGE_KURTOSIS = 1.0
"""Moments of a coordinate beyond which it counts as far from normal, in absolute value. A normal
one has 0 and 0, a uniform one 0 and -1.2, a Laplace one 0 and 3, an exponential one 2 and 6."""
MOST_NON_NORMAL = 0.2
"""Share of such coordinates above which data count as far from Gaussian."""
FEWEST_ROWS = 100
"""Rows below which a variance is not known to 15 %."""


@dataclass(frozen=True)
class Gaussianity:
    """How far data are from independent Gaussian coordinates."""

    count: int
    """N, the number of rows."""
    width: int
    """d, the number of coordinates."""
    off_diagonal: float
    """Share of the covariance's squared Frobenius norm off its diagonal, as data have it."""
    rank: int | None
    """Principal directions that planning takes as coordinates; None where data are not rotated."""
    left: float
    """The share ``off_diagonal`` in the coordinates that are planned."""
    constant: int
    """Coordinates, of those planned, that never vary."""
    non_normal: float | None
    """Share of varying coordinates that are far from normal; None where only moments are known."""

    @property
    def is_diagonal(self) -> bool:
        """Whether the planned coordinates are nearly uncorrelated."""
        return self.left <= MOST_OFF_DIAGONAL

    @property
    def is_normal(self) -> bool:
        """Whether most planned coordinates are near to normal, as far as is known."""
        return self.non_normal is None or self.non_normal <= MOST_NON_NORMAL

    @property
    def holds(self) -> bool:
        """Whether the assumption holds as far as is known, without rotation, on enough rows."""
        return (
            self.rank is None and self.is_diagonal and self.is_normal and self.count >= FEWEST_ROWS
        )


def off_diagonal_share(covariance: Array, count: int) -> float:
    """Share of the squared Frobenius norm of a covariance off its diagonal, without sampling noise.

    The covariance S of N rows of independent Gaussian coordinates is not diagonal either: its
    entries have E[S_ij**2] = S_ii S_jj / N. So this is subtracted:

        off = sum_{i != j} (S_ij**2 - S_ii S_jj / N),  share = off / (off + sum_i S_ii**2)

    Args:
        covariance: Covariance of the rows, (d, d).
        count: N.
    """
    variances = covariance.diagonal()
    return _share(float(np.square(covariance).sum()), variances, count)


def off_diagonal_share_of_rows(rows: Array, variances: Array) -> float:
    """The same from some of the rows, where the covariance itself would be too large.

    For independent rows x and y with mean zero, E[(x . y)**2] = tr(S**2), the whole energy.

    Args:
        rows: Centred, (n, d), n >= 2.
        variances: Variances of all rows, (d,).
    """
    products = rows @ rows.T
    n = len(rows)
    whole = (np.square(products).sum() - np.square(products.diagonal()).sum()) / (n * (n - 1))
    diagonal = float(np.square(variances).sum())
    return max(0.0, 1.0 - diagonal / float(whole)) if whole > 0 else 0.0


def _share(whole: float, variances: Array, count: int) -> float:
    diagonal = float(np.square(variances).sum())
    noise = (float(variances.sum()) ** 2 - diagonal) / count
    off = max(0.0, whole - diagonal - noise)
    return off / (off + diagonal) if off > 0 else 0.0


def non_normal_share(rows: Array) -> float:
    """Share of the coordinates of rows (n, d) that are far from normal, of those that vary.

    A coordinate is far from normal if |skewness| exceeds ``LARGE_SKEWNESS`` or |excess kurtosis|
    exceeds ``LARGE_KURTOSIS``.
    """
    centred = rows - rows.mean(axis=0)
    variances = np.square(centred).mean(axis=0)
    varies = variances > 1e-20 * variances.max(initial=0.0)
    if not varies.any():
        return 0.0
    scaled = centred[:, varies] / np.sqrt(variances[varies])
    skewness = (scaled**3).mean(axis=0)
    kurtosis = (scaled**4).mean(axis=0) - 3.0
    far = (np.abs(skewness) > LARGE_SKEWNESS) | (np.abs(kurtosis) > LARGE_KURTOSIS)
    return float(far.mean())
