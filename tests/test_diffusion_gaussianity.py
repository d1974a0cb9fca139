"""How Gaussian and how diagonal data are, against distributions of which it is known."""

import numpy as np
import pytest

from diffusion.gaussianity import (
    non_normal_share,
    off_diagonal_share,
    off_diagonal_share_of_rows,
)

DRAW = np.random.default_rng(0)


def test_a_known_covariance_has_its_share_off_the_diagonal():
    covariance = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert off_diagonal_share(covariance, 10**12) == pytest.approx(2.0 / 15.0)
    assert off_diagonal_share(np.diag([1.0, 5.0]), 10) == 0.0


@pytest.mark.parametrize(("count", "width"), [(100, 100), (50, 200), (2000, 10)])
def test_independent_coordinates_count_as_such_however_few_the_rows(count, width):
    """Uncorrected the share would be d / (N + d): a half for as many rows as coordinates."""
    rows = DRAW.standard_normal((count, width))
    centred = rows - rows.mean(axis=0)
    covariance = centred.T @ centred / count
    # What is left is the randomness of the sum that is subtracted: its root is some 1 / N.
    assert off_diagonal_share(covariance, count) < 0.1
    assert off_diagonal_share_of_rows(centred, covariance.diagonal()) < 0.1


def test_both_measures_agree_where_coordinates_are_correlated():
    basis = np.linalg.qr(DRAW.standard_normal((20, 20)))[0]
    variances = np.geomspace(0.01, 10.0, 20)
    rows = DRAW.standard_normal((3000, 20)) * np.sqrt(variances) @ basis.T
    centred = rows - rows.mean(axis=0)
    truth = off_diagonal_share(basis * variances @ basis.T, 10**12)
    found = off_diagonal_share(centred.T @ centred / 3000, 3000)
    sampled = off_diagonal_share_of_rows(centred, centred.var(axis=0))
    assert found == pytest.approx(truth, abs=0.02)
    assert sampled == pytest.approx(truth, abs=0.02)
    assert 0.5 < truth < 1.0


def test_coordinates_far_from_normal_are_counted():
    normal, uniform, laplace, exponential, constant = (
        DRAW.standard_normal(5000),
        DRAW.uniform(size=5000),
        DRAW.laplace(size=5000),
        DRAW.exponential(size=5000),
        np.full(5000, 7.0),
    )
    assert non_normal_share(np.stack([normal, constant], axis=1)) == 0.0
    assert non_normal_share(np.stack([normal, uniform, laplace, exponential], axis=1)) == 0.75
    assert non_normal_share(np.stack([constant], axis=1)) == 0.0


def test_the_scale_and_the_mean_change_nothing():
    rows = DRAW.standard_normal((500, 4)) ** 3
    scaled = rows * [1e-6, 1.0, 1e6, -3.0] + [0.0, 1e4, 0.0, 5.0]
    assert non_normal_share(scaled) == non_normal_share(rows) == 1.0
