"""Rotations: orthogonal, undone exactly, and their coordinates uncorrelated."""

import numpy as np
import pytest

from diffusion.gaussianity import streamed_moments
from distill.coordinates import Rotation, eigen_rotation, principal_rotation


def orthogonal(width, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]


def correlated(count, variances, seed=0):
    """Rows whose covariance is exactly U diag(variances) U^T for a known U, and U."""
    rows = np.random.default_rng(seed).standard_normal((count, len(variances)))
    rows -= rows.mean(axis=0)
    white = np.linalg.qr(rows)[0] * count**0.5
    basis = orthogonal(len(variances), seed + 1)
    return white * np.sqrt(variances) @ basis.T + 3.0, basis


def save_both(folder, count, variances):
    """Save rows of six dimensions in their own coordinates and in rotated ones, those (3, 2)."""
    rows, basis = correlated(count, variances)
    np.save(folder / "rotated.npy", rows.reshape(count, 3, 2))
    np.save(folder / "diagonal.npy", (rows - 3.0) @ basis)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_a_rotation_keeps_lengths_and_is_undone(rank):
    rotation = Rotation(orthogonal(7)[:, :rank].astype(np.float32))
    rows = np.random.default_rng(1).standard_normal((5, 7))
    turned = rotation.into(rows)
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)
    np.testing.assert_allclose(rotation.back(turned), rows, atol=1e-5)
    np.testing.assert_allclose(turned[:, :rank], rows @ rotation.basis, atol=1e-5)


def test_the_eigenbasis_finds_the_variances_of_a_gaussian_with_a_known_rotation():
    variances = np.array([2.0, 1.1, 0.4, 0.0])
    rows, basis = correlated(300, variances)
    covariance = streamed_moments([rows]).covariance
    rotation, found = eigen_rotation(covariance)
    np.testing.assert_allclose(found, variances, atol=1e-12)
    np.testing.assert_allclose(np.abs(rotation.basis.T @ basis), np.eye(4), atol=1e-6)
    turned = streamed_moments([rotation.into(rows - 3.0)]).covariance
    np.testing.assert_allclose(turned, np.diag(variances), atol=1e-6)


def test_samples_that_are_rotated_back_have_the_covariance_of_the_data():
    variances = np.array([2.0, 1.1, 0.4])
    rows, basis = correlated(300, variances)
    rotation, found = eigen_rotation(streamed_moments([rows]).covariance)
    white = correlated(500, np.ones(3), seed=5)[0] - 3.0
    samples = rotation.back(np.sqrt(found) * white)
    np.testing.assert_allclose(samples.T @ samples / 500, basis * variances @ basis.T, atol=1e-6)


def test_principal_directions_and_a_diagonal_take_data_apart_that_are_made_so():
    """Three large directions and noise of one variance: what is left is uncorrelated, too."""
    variances = np.array([9.0, 4.0, 2.0, *[0.1] * 37])
    rows, basis = correlated(400, variances)
    rotation, found = principal_rotation(lambda: np.array_split(rows, 7), rows.mean(axis=0), 3)
    np.testing.assert_allclose(found, variances, rtol=1e-5)
    np.testing.assert_allclose(np.abs(rotation.basis.T @ basis[:, :3]), np.eye(3), atol=1e-4)
    turned = streamed_moments([rotation.into(rows - rows.mean(axis=0))]).covariance
    np.testing.assert_allclose(turned, np.diag(variances), atol=1e-4)


def test_the_variances_along_principal_directions_add_up_to_all_of_it():
    rows, _ = correlated(200, np.linspace(0.1, 3.0, 30))
    _, found = principal_rotation(lambda: [rows], rows.mean(axis=0), 5)
    assert found.sum() == pytest.approx(rows.var(axis=0).sum(), rel=1e-5)
