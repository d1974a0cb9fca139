"""The Fréchet distance against closed forms and against a matrix square root of another library."""

import numpy as np
import pytest
import torch

from sampling.compare_samplers import CompareRow, read_rows
from sampling.frechet import frechet_distance


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> torch.Tensor:
    """A sample that has exactly this mean and this unbiased covariance."""
    drawn = np.random.default_rng(seed).standard_normal((count, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn.T))).T
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0))
    return torch.from_numpy(white @ root.T + mean)


def test_diagonal_gaussians_have_a_closed_form():
    """|m - m'|**2 + sum (sqrt(v) - sqrt(v'))**2."""
    means = np.array([[0.0, 1.0, -2.0], [0.5, 1.0, 1.0]])
    variances = np.array([[1.0, 4.0, 0.25], [9.0, 4.0, 0.0]])  # one direction has no width
    samples = [with_moments(means[i], np.diag(variances[i]), 50, seed=i) for i in range(2)]
    expected = np.square(means[0] - means[1]).sum()
    expected += np.square(np.sqrt(variances[0]) - np.sqrt(variances[1])).sum()
    assert frechet_distance(*samples) == pytest.approx(expected, rel=1e-9)


def test_correlated_gaussians_agree_with_the_formula_of_fid():
    """tr (C C')^1/2 by scipy's Schur method, as FID programs compute it."""
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    sets = []
    for seed in (1, 2):
        mix = rng.standard_normal((6, 6))
        mean, covariance = rng.standard_normal(6), mix @ mix.T
        sets.append((mean, covariance, with_moments(mean, covariance, 200, seed)))
    (mean, covariance, samples), (mean_, covariance_, others) = sets
    expected = np.square(mean - mean_).sum() + np.trace(covariance + covariance_)
    expected -= 2 * np.trace(linalg.sqrtm(covariance @ covariance_)).real
    assert frechet_distance(samples, others) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(others, samples) == pytest.approx(expected, rel=1e-9)


def test_a_sample_is_at_no_distance_to_itself_and_a_shift_is_its_square():
    samples = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(samples, samples) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(samples, samples + 0.5) == pytest.approx(8 * 0.25, rel=1e-5)


def test_fewer_samples_than_coordinates_are_no_trouble():
    """Singular covariances, for which a square root of C C' is often complex or not found."""
    few = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).double()
    rotation = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(1)))[0]
    turned = few @ rotation.double()
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-9)
    assert 0 < frechet_distance(few, turned) < 4 * few.square().sum() / 4


def test_one_coordinate_is_enough():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0]])
    assert frechet_distance(a, b) == pytest.approx(2.0)


def test_a_table_of_version_0_1_is_read_without_the_distance(tmp_path):
    lines = ["name,steps,w2,to_flow,milliseconds"]
    lines += [f"{name},0,0.5,,0.0" for name in ("gaussian", "flow", "training")]
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    found = read_rows(tmp_path / "results.csv")
    assert found[0] == CompareRow("gaussian", 0, 0.5, None, 0.0, None)
    assert len(found) == 3
