"""Moments against NumPy, and how Gaussian and diagonal data of known distributions are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.gaussianity import (
    non_normal_share,
    off_diagonal_share,
    off_diagonal_share_of_rows,
    streamed_moments,
)
from tests.damage import READER

DRAW = np.random.default_rng(0)


def chunks_of(rows, ends):
    return np.split(rows, sorted(end % (len(rows) + 1) for end in ends))


@READER
@given(
    count=st.integers(1, 40),
    width=st.integers(1, 6),
    ends=st.lists(st.integers(0, 40), max_size=5),
    mean=st.sampled_from([0.0, -3.0, 1e3, 1e7]),
    seed=st.integers(0, 99),
)
def test_however_the_rows_are_cut_the_moments_are_those_of_all(count, width, ends, mean, seed):
    rows = np.random.default_rng(seed).normal(mean, 1.0, (count, width))
    found = streamed_moments(chunks_of(rows, ends))
    covariance = np.cov(rows.T, bias=True).reshape(width, width)
    assert found.count == count
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.variances, found.covariance.diagonal())
    diagonal = streamed_moments(chunks_of(rows, ends), full=False)
    assert diagonal.covariance is None
    np.testing.assert_allclose(diagonal.variances, found.variances, rtol=1e-12, atol=1e-20)
    np.testing.assert_array_equal(diagonal.mean, found.mean)


def test_a_large_mean_costs_no_digits_of_float16_numbers():
    """Deviations of multiples of 1/8 around 128: all numbers are exact, so is the variance."""
    steps = np.tile([-1.0, 1.0], 500)[:, None]
    rows = (128.0 + steps / 8).astype(np.float16).astype(np.float64)
    found = streamed_moments(np.split(rows, 10))
    assert found.mean == 128.0
    assert found.variances == 1 / 64


def test_coordinates_that_never_vary_have_the_variance_0_exactly():
    rows = np.tile([0.1, 1 / 3, 1e9 + 0.1], (1000, 1))
    found = streamed_moments(np.array_split(rows, 7))
    assert not found.covariance.any()
    np.testing.assert_array_equal(found.mean, rows[0])


def test_no_row_has_no_moments():
    with pytest.raises(ValueError, match="no rows"):
        streamed_moments([])


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
