import pytest
import torch
from tqdm import tqdm

from experiment.tensors import write_tensors
from experiment.write import sha256, write_json
from vae.checkpoint import embedded_vae, load_vae, save_vae
from vae.encode_latents import encode_in_parts
from vae.latents import (
    LATENTS_FILE,
    Latents,
    describe,
    encode,
    load_latents,
    moments,
    refuse_mismatch,
    save_latents,
)
from vae.model import LATENT_DIM, VAE


def test_weights_survive_the_file_up_to_half_precision(tmp_path):
    model = VAE()
    save_vae(tmp_path / "vae.safetensors", model)
    found = load_vae(tmp_path / "vae.safetensors").state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("keep", [0, 7, 5_000, -1])
def test_a_truncated_file_is_named_and_told_from_a_whole_one(tmp_path, keep):
    path = tmp_path / "vae.safetensors"
    save_vae(path, VAE())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"vae\.safetensors: not a whole safetensors file"):
        load_vae(path)


def test_a_file_of_another_kind_network_or_preprocessing_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, {"kind": "something else"})
    with pytest.raises(ValueError, match=r"holds 'something else', expected mergelab VAE weights"):
        load_vae(path)
    kind = {"kind": "mergelab VAE weights, format 1"}
    write_tensors(path, {"a": torch.ones(1)}, kind | {"preprocessing": "squashed"})
    with pytest.raises(ValueError, match=r"preprocessed as squashed.*mergelab pretrain_vae"):
        load_vae(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors: no such file"):
        load_vae(tmp_path / "nothing.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert (tmp_path / "a.json").read_text() == "[\n  1\n]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_without_noise_the_network_decodes_the_posterior_mean_and_noise_has_its_scale():
    model, images = VAE().eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        reconstruction, mu, log_var = model(images, torch.zeros(2, LATENT_DIM))
        torch.testing.assert_close(reconstruction, model.decode(mu))
        eps = torch.randn(2, LATENT_DIM)
        noisy = model(images, eps)[0]
        torch.testing.assert_close(noisy, model.decode(mu + (0.5 * log_var).exp() * eps))
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1


def test_encoding_does_not_depend_on_the_batch_size():
    model = VAE().eval()
    images = torch.randint(0, 256, (11, 64, 64, 3), dtype=torch.uint8)
    at_once, in_threes = (encode(model, images, size, tqdm(disable=True)) for size in (11, 3))
    torch.testing.assert_close(at_once, in_threes)


def test_encoding_goes_on_after_the_parts_that_are_kept(tmp_path):
    model = VAE().eval()
    images = torch.randint(0, 256, (11, 64, 64, 3), dtype=torch.uint8)
    whole = encode_in_parts(model, images, 2, tmp_path, part_size=4)
    torch.testing.assert_close(whole, encode(model, images, 2, tqdm(disable=True)))
    parts = sorted(tmp_path.iterdir())
    assert len(parts) == 3
    parts[2].unlink()
    kept = [path.stat().st_mtime_ns for path in parts[:2]]
    assert torch.equal(encode_in_parts(model, images, 2, tmp_path, part_size=4), whole)
    assert [path.stat().st_mtime_ns for path in parts[:2]] == kept
    parts[1].write_bytes(parts[1].read_bytes()[:-9])
    with pytest.raises(ValueError, match=parts[1].name):
        encode_in_parts(model, images, 2, tmp_path, part_size=4)


def test_moments_are_over_n_and_described_in_closed_form():
    codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 3.0], [-2.0, -3.0]]) + 5.0
    mean, covariance = moments(codes)
    torch.testing.assert_close(mean, torch.tensor([5.0, 5.0]).double())
    torch.testing.assert_close(covariance, torch.tensor([[2.5, 3.0], [3.0, 4.5]]).double())
    facts = describe(covariance)
    assert facts["off_diagonal_energy"] == pytest.approx(18.0 / (18.0 + 6.25 + 20.25))
    assert facts["largest_correlation"] == pytest.approx(3.0 / (2.5 * 4.5) ** 0.5)
    assert facts["variances_above_1"] == 2
    assert describe(torch.eye(3).double())["off_diagonal_energy"] == 0.0


def test_latents_survive_the_file_and_name_their_vae(model_run):
    vae, folder = model_run
    latents = load_latents(folder)
    mean, covariance = moments(latents.codes)
    torch.testing.assert_close(latents.mean, mean)
    torch.testing.assert_close(latents.covariance, covariance)
    refuse_mismatch(latents, folder, vae / "vae.safetensors")
    save_vae(vae / "vae.safetensors", VAE())
    with pytest.raises(ValueError, match="not encoded by"):
        refuse_mismatch(latents, folder, vae / "vae.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("covariance", -torch.eye(LATENT_DIM).double(), "variance of coordinate 0 is -1.0"),
        ("covariance", torch.full((LATENT_DIM, LATENT_DIM), torch.nan).double(), "finite values"),
        ("mean", torch.zeros(3).double(), r"mean is .* of shape \(3,\)"),
        ("codes", torch.zeros(3, LATENT_DIM), r"codes is .* of shape \(3, 128\)"),
    ],
)
def test_impossible_latents_are_refused(model_run, name, value, message):
    from dataclasses import replace

    path = model_run[1] / LATENTS_FILE
    save_latents(path, replace(load_latents(path), **{name: value}))
    with pytest.raises(ValueError, match=message):
        load_latents(path)


def test_moments_alone_are_latents_too(model_run):
    whole = load_latents(model_run[1])
    path = model_run[1] / "moments.safetensors"
    save_latents(
        path,
        Latents(whole.mean, whole.covariance, whole.count, whole.vae_sha256, "drawn by the test"),
    )
    assert load_latents(path).codes is None
    torch.testing.assert_close(load_latents(path).variances, whole.variances)


def test_the_embedded_model_is_small_whole_and_has_the_latents_it_was_used_for():
    weights = embedded_vae()
    latents = load_latents(weights.with_name(LATENTS_FILE))
    refuse_mismatch(latents, weights, weights)
    assert sum(path.stat().st_size for path in weights.parent.iterdir()) < 9e6
    assert latents.codes is None  # nothing about single CelebA images is published
    assert torch.linalg.eigvalsh(latents.covariance).min() > 0
    noise = torch.randn(512, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    faces = load_vae(weights).decode((latents.mean + latents.variances.sqrt() * noise).float())
    # Mirror images of faces are faces: a model that has learnt them is far more symmetric in the
    # mean than across the horizontal.
    mean = faces.mean(dim=0)
    assert (mean - mean.flip(2)).abs().mean() < 0.3 * (mean - mean.flip(1)).abs().mean()
    assert len(sha256(weights)) == 64
