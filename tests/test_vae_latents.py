"""Latents of any encoder: what is read from arrays, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import make_model_run
from vae.checkpoint import VAE_FILE
from vae.latents import LATENTS_FILE, load_latents, refuse_mismatch


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2)])
def test_moments_are_those_of_numpy_in_float64_for_every_type_and_shape(tmp_path, dtype, shape):
    path = tmp_path / "latents.safetensors"
    codes = (torch.randn(500, *shape, generator=torch.Generator().manual_seed(0)) + 3).to(dtype)
    save_file({"any": codes}, path)
    found = load_latents(path)
    rows = codes.double().reshape(500, -1).numpy()
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), atol=1e-13)
    assert torch.equal(found.codes, codes.reshape(500, -1))
    assert found.vae_sha256 is None


def test_many_coordinates_have_no_full_covariance_and_that_is_said(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(20, 5000)).astype(np.float32)
    np.save(tmp_path / "wide.npy", rows)
    lines = []
    found = load_latents(tmp_path / "wide.npy", lines.append)
    assert found.covariance is None
    np.testing.assert_allclose(found.variances, rows.var(axis=0, dtype=np.float64), rtol=1e-12)
    assert "the full covariance would take 0.2 GB of memory and is not computed" in lines[0]


def rows(**changed):
    made = np.random.default_rng(0).normal(size=(7, 2, 3))
    for place, value in changed.values():
        made[place] = value
    return made


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (rows(a=((3, 1, 2), np.nan)), "row 3 holds nan in coordinate 5"),
        (rows(a=((6, 0, 0), -np.inf)), "row 6 holds -inf in coordinate 0"),
        (rows()[:1], "1 row has no variance"),
        (np.ones((7, 3)), "all 7 rows are equal"),
        (rows() * 1e200, "its numbers are too large"),
    ],
)
def test_rows_without_finite_moments_are_told(tmp_path, array, fault):
    np.save(tmp_path / "bad.npy", array)
    with pytest.raises(ValueError, match=rf"bad\.npy: not latents \({fault}.*\); make") as told:
        load_latents(tmp_path / "bad.npy")
    assert "\n" not in str(told.value)


def test_a_coordinate_that_never_varies_is_read(tmp_path):
    np.save(tmp_path / "a.npy", rows() * [1.0, 0.0, 1.0])
    assert load_latents(tmp_path / "a.npy").variances[[1, 4]].tolist() == [0.0, 0.0]


def test_latents_that_name_no_vae_are_not_decoded_unasked(tmp_path):
    weights, path = make_model_run(tmp_path)[0] / VAE_FILE, tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).normal(size=(9, 128)))
    with pytest.raises(ValueError, match=r"a\.npy: does not say which VAE encoded these latents"):
        refuse_mismatch(load_latents(path), path, weights)


def test_other_files_of_mergelab_are_not_taken_for_latents(tmp_path):
    vae, folder = make_model_run(tmp_path)
    assert load_latents(folder / LATENTS_FILE).vae_sha256 is not None
    with pytest.raises(ValueError, match="holds 'mergelab VAE weights"):
        load_latents(vae / VAE_FILE)
