"""Moments in one pass over chunks are those of NumPy over all rows at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.gaussianity import streamed_moments
from tests.damage import READER


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
