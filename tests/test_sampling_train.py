import json
import sys

import numpy as np
import pytest
import torch

from diffusion.schedule import cosine_schedule
from sampling import train_noise_estimator as job
from sampling.config import TrainConfig
from sampling.estimator_file import (
    ESTIMATOR_FILE,
    embedded_estimator,
    load_estimator,
    refuse_other_vae,
    save_estimator,
)
from sampling.train import eps_errors, noise_levels
from sampling.train_noise_estimator import train_noise_estimator
from scripts.cli import main
from vae.checkpoint import embedded_vae
from vae.latents import LATENTS_FILE, Latents, load_latents, save_latents

SMALL = {"gradient_steps": 12, "batch_size": 32, "width": 16, "depth": 1, "device": "cpu"}


@pytest.fixture
def latents(model_run, monkeypatch):
    """Folder of 500 latents of which the last 100 are held out; calibration on few samples."""
    monkeypatch.setattr("sampling.train.COUNT", 32)
    folder = model_run[1]
    found = load_latents(folder)
    found.splits[400:] = 1
    save_latents(folder / LATENTS_FILE, found)
    return folder


def test_a_run_that_was_interrupted_ends_where_an_uninterrupted_one_does(
    latents, tmp_path, monkeypatch
):
    monkeypatch.setattr(job, "UPDATES_PER_SAVE", 4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_noise_estimator(TrainConfig(latents=latents, out=whole, **SMALL))

    def stop(*arguments):
        raise KeyboardInterrupt

    kept = job.train_updates
    calls = iter([kept, kept, stop])
    monkeypatch.setattr(job, "train_updates", lambda *a: next(calls)(*a))
    with pytest.raises(KeyboardInterrupt):
        train_noise_estimator(TrainConfig(latents=latents, out=broken, **SMALL))
    monkeypatch.setattr(job, "train_updates", kept)
    train_noise_estimator(TrainConfig(latents=latents, out=broken, **SMALL))
    expected, found = (load_estimator(folder / ESTIMATOR_FILE)[0] for folder in (whole, broken))
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=0)
    rows = [json.loads(row) for row in (broken / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [4, 8, 12]


def test_an_update_draws_from_its_number_and_each_level_equally_often():
    levels = noise_levels(cosine_schedule(10), torch.device("cpu"))
    assert levels.shape == (10, 2)
    assert levels[-1].tolist() == [0.0, 1.0]  # t = T is trained, t = 0 is not
    assert levels[0, 1] > 0


def test_the_loss_is_the_squared_error_of_the_noise():
    x_0, eps = torch.randn(2, 5, 3).unbind()
    levels = torch.tensor([[0.6, 0.8]]).expand(5, 2)

    def knows_x_0(x_t, alpha, sigma):
        return type("E", (), {"eps": (x_t - alpha * (x_0 + 1)) / sigma})

    found = eps_errors(knows_x_0, x_0, levels, eps)
    torch.testing.assert_close(found, torch.full((5,), 3 * (0.6 / 0.8) ** 2))


def test_moments_alone_cannot_be_trained_on(latents, tmp_path):
    found = load_latents(latents)
    moments = Latents(
        found.mean, found.covariance, found.count, found.vae_sha256, found.data_fingerprint
    )
    save_latents(tmp_path / "moments" / LATENTS_FILE, moments)
    with pytest.raises(ValueError, match="encode again without --moments-only"):
        train_noise_estimator(
            TrainConfig(latents=tmp_path / "moments", out=tmp_path / "run", **SMALL)
        )
    assert not (tmp_path / "run").exists()


def test_training_needs_held_out_latents(model_run, tmp_path):
    with pytest.raises(ValueError, match="500 latents to train on and 0 held out"):
        train_noise_estimator(TrainConfig(latents=model_run[1], out=tmp_path / "run", **SMALL))


def test_a_loss_that_explodes_stops_the_run_and_names_the_update(latents, tmp_path):
    with pytest.raises(FloatingPointError, match=r"update \d+: loss .* try a smaller --lr"):
        train_noise_estimator(
            TrainConfig(latents=latents, out=tmp_path / "run", **SMALL | {"lr": 1e30})
        )
    assert not (tmp_path / "run" / ESTIMATOR_FILE).exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gradient-steps", "0"], "--gradient-steps must be positive, got 0"),
        (["--ema-decay", "1"], "--ema-decay must be from 0 to below 1"),
        (
            ["--latents", "/no/such"],
            "/no/such: no such file; make latents with mergelab encode_latents",
        ),
    ],
)
def test_bad_flags_are_one_line(flags, message, latents, tmp_path, monkeypatch, capsys):
    given = ["--latents", str(latents), "--out", str(tmp_path / "run"), *flags]
    monkeypatch.setattr(sys, "argv", ["train_noise_estimator.py", *given])
    with pytest.raises(SystemExit) as stop:
        main(TrainConfig, train_noise_estimator, "A job.")
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_saved_estimator_says_the_same_within_half_precision(latents, tmp_path):
    train_noise_estimator(TrainConfig(latents=latents, out=tmp_path / "run", **SMALL))
    model, trained = load_estimator(tmp_path / "run" / ESTIMATOR_FILE)
    assert (trained.updates, trained.width, trained.latent_dim) == (12, 16, 128)
    save_estimator(tmp_path / "again.safetensors", model, trained)
    again, _ = load_estimator(tmp_path / "again.safetensors")
    x_t = torch.randn(4, 128)
    torch.testing.assert_close(again.denoise(x_t, 0.6, 0.8).eps, model.denoise(x_t, 0.6, 0.8).eps)


def test_a_damaged_estimator_is_refused(latents, tmp_path):
    train_noise_estimator(TrainConfig(latents=latents, out=tmp_path / "run", **SMALL))
    path = tmp_path / "run" / ESTIMATOR_FILE
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_estimator(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_estimator(tmp_path / "none.safetensors")


def test_an_estimator_is_refused_beside_another_vae(latents, model_run, tmp_path):
    train_noise_estimator(TrainConfig(latents=latents, out=tmp_path / "run", **SMALL))
    path = tmp_path / "run" / ESTIMATOR_FILE
    _, trained = load_estimator(path)
    refuse_other_vae(trained, path, model_run[0] / "vae.safetensors")
    with pytest.raises(ValueError, match=r"give --vae that model, or train an estimator"):
        refuse_other_vae(trained, path, embedded_vae())


def test_the_embedded_estimator_is_small_and_of_the_embedded_vae():
    """After a change of the embedded VAE: train again as sampling/pretrained/README.md says."""
    path = embedded_estimator()
    assert path.stat().st_size < 5e6
    model, trained = load_estimator(path)
    refuse_other_vae(trained, path, embedded_vae())
    assert np.isfinite([parameter.abs().max() for parameter in model.parameters()]).all()


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_latents_of_any_encoder_train_an_estimator_that_has_no_faces(tmp_path, monkeypatch, shape):
    monkeypatch.setattr("sampling.train.COUNT", 32)
    codes = np.random.default_rng(0).normal(2.0, 0.5, (50, *shape)).astype(np.float16)
    np.save(tmp_path / "mine.npy", codes)
    config = TrainConfig(latents=tmp_path / "mine.npy", out=tmp_path / "run", **SMALL)
    train_noise_estimator(config)
    path = tmp_path / "run" / ESTIMATOR_FILE
    model, trained = load_estimator(path)
    assert trained.latent_dim == np.prod(shape)
    np.testing.assert_allclose(model.mean, codes.reshape(50, -1).mean(axis=0), atol=0.1)
    with pytest.raises(ValueError, match="latents that do not name their VAE, so it has no faces"):
        refuse_other_vae(trained, path, embedded_vae())
    np.save(tmp_path / "mine.npy", codes + 1)
    with pytest.raises(ValueError, match=r"another run's results \(inputs.latents is"):
        train_noise_estimator(config)
