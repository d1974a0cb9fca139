import json

import pytest
import pytorch_msssim
import torch

from vae.checkpoint import FOLDER, load_vae
from vae.config import EncodeConfig, PretrainConfig
from vae.encode_latents import encode_latents
from vae.evaluate import Quality, evaluate_vae, measured_ms_ssim
from vae.latents import load_latents, moments
from vae.loss import kl_to_standard_normal
from vae.model import VAE, to_float, to_uint8
from vae.ms_ssim import ms_ssim, scales_for
from vae.pretrain_vae import pretrain_vae
from vae.train import learning_rate


def config(image_folder, out, **changes) -> PretrainConfig:
    values = {"data": image_folder, "out": out, "epochs": 2, "batch_size": 16, "device": "cpu"}
    return PretrainConfig(**values | {"cache": image_folder.parent / "cache"} | changes)


@pytest.fixture
def one_held_out(monkeypatch):
    """Of the forty test images none would be held out by chance; take a larger share."""
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)


@pytest.mark.usefixtures("one_held_out")
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step_and_batch(image_folder, tmp_path):
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1: loss .*MS-SSIM nan"):
        pretrain_vae(config(image_folder, tmp_path / "run", lr=1e30))
    assert not (tmp_path / "run" / FOLDER).exists()


@pytest.mark.usefixtures("one_held_out")
def test_another_runs_folder_is_left_alone(image_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files of something else"):
        pretrain_vae(config(image_folder, tmp_path / "run"))
    pretrain_vae(config(image_folder, tmp_path / "other", epochs=1))
    before = (tmp_path / "other/vae.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"config.beta is 0.0003 there, 0.5 here"):
        pretrain_vae(config(image_folder, tmp_path / "other", epochs=1, beta=0.5))
    assert (tmp_path / "other/vae.safetensors").read_bytes() == before


@pytest.mark.usefixtures("one_held_out")
def test_training_lowers_the_loss_on_real_gradients(image_folder, tmp_path):
    pretrain_vae(config(image_folder, tmp_path / "run", epochs=12))
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_reconstruction"] < 0.9 * rows[0]["train_reconstruction"]


def test_the_learning_rate_warms_up_and_ends_at_zero():
    rates = [learning_rate(step, 1000, peak=0.1) for step in range(1001)]
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates.index(max(rates)) == 49
    assert rates[0] < 0.01
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)


def test_bytes_survive_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8).repeat(48).view(1, 64, 64, 3)
    assert torch.equal(to_uint8(to_float(every)), every)


@pytest.mark.usefixtures("one_held_out")
@pytest.mark.parametrize("size", [32, 128])
def test_another_image_size_is_named_by_the_weights_and_read_back(image_folder, tmp_path, size):
    cache = image_folder.parent / "cache"
    pretrain_vae(config(image_folder, tmp_path / "run", epochs=1, image_size=size))
    assert load_vae(tmp_path / "run/vae.safetensors").image_size == size
    latents = encode_latents(
        EncodeConfig(data=image_folder, out=tmp_path / "codes", vae=tmp_path / "run", cache=cache)
    )
    assert load_latents(tmp_path / "codes").image_size == size
    decoded = load_vae(tmp_path / "run/vae.safetensors").decode(latents.codes[:2])
    assert decoded.shape == (2, 3, size, size)
    facts = json.loads((tmp_path / "run/config.json").read_text())["facts"]
    assert facts["preprocessing"].endswith(f"_{size}px_v2")
    assert facts["ms_ssim"]["window"] == {32: 3, 128: 7}[size]
    with pytest.raises(ValueError, match=f"config.image_size is {size} there, 64 here"):
        pretrain_vae(config(image_folder, tmp_path / "run", epochs=1))


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128])
def test_every_size_comes_back_from_the_network(size):
    model = VAE(size).eval()
    with torch.no_grad():
        reconstruction, mu, log_var = model(torch.rand(2, 3, size, size), torch.zeros(2, 128))
    assert reconstruction.shape == (2, 3, size, size)
    assert mu.shape == log_var.shape == (2, 128)


def test_a_size_that_does_not_halve_is_refused():
    with pytest.raises(ValueError, match=r"image size 100 is none of \(32, 48, 64, 96, 128\)"):
        VAE(100)


def test_validation_measures_what_it_says():
    """Against plain formulas over all images at once."""
    torch.manual_seed(0)
    model = VAE(32).eval()
    images = torch.randint(0, 256, (300, 32, 32, 3), dtype=torch.uint8)  # more than one batch
    quality = evaluate_vae(model, images)
    with torch.no_grad():
        mu, log_var = model.encode(to_float(images))
        error = (model.decode(mu) - to_float(images)).square().mean((1, 2, 3))
    kl = kl_to_standard_normal(mu, log_var).mean(dim=0)
    torch.testing.assert_close(quality.kl_per_dimension, kl)
    assert quality.kl == pytest.approx(kl.sum().item(), rel=1e-5)
    assert quality.psnr == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-5)
    torch.testing.assert_close(quality.covariance, mu.double().T.cov(correction=0))
    assert quality.active_units == int((mu.var(dim=0, correction=0) > 0.01).sum())
    assert set(quality.row()) >= {"ms_ssim", "off_diagonal_energy", "variances_above_1"}


def test_few_images_of_independent_latents_show_the_off_diagonal_energy_of_chance():
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(0.2, 1.3, 128).sqrt()
    _, covariance = moments(torch.randn(500, 128, generator=generator) * scales)
    row = Quality(0.0, 0.0, 0.0, torch.zeros(128), covariance, 500).row()
    # A sum of 8,128 squared covariances spreads by some 2 %.
    assert row["off_diagonal_energy"] == pytest.approx(
        row["off_diagonal_energy_by_chance"], rel=0.1
    )


@pytest.mark.usefixtures("one_held_out")
def test_every_epoch_is_recorded_also_for_tensorboard(image_folder, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    out = tmp_path / "run"
    pretrain_vae(config(image_folder, out, image_size=32, track="tensorboard", l1=0.1))
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["train_l1"] > 0 for row in rows)
    units = [json.loads(row) for row in (out / "latent_dimensions.jsonl").read_text().splitlines()]
    for row, unit in zip(rows, units, strict=True):
        assert sum(unit["kl_per_dimension"]) == pytest.approx(row["kl"], rel=1e-4)
        assert sum(unit["variances"]) == pytest.approx(row["total_variance"], rel=1e-4)
    events = event_accumulator.EventAccumulator(str(out / "tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("ms_ssim")]
    assert logged == pytest.approx([row["ms_ssim"] for row in rows])
    names = sorted(path.name for path in (out / "figures").iterdir())
    assert names == ["epoch_0001.png", "epoch_0002.png"]


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128])
def test_the_recorded_ms_ssim_is_that_of_pytorch_msssim_wherever_it_takes_the_size(size):
    """Written out here with the arguments that a reader of the number would use."""
    generator = torch.Generator().manual_seed(size)
    images, others = torch.rand(2, 3, 3, size, size, generator=generator)
    window, weights = scales_for(size).window, list(scales_for(size).weights)
    found = measured_ms_ssim(images, others)
    assert found == pytest.approx(ms_ssim(images, others), abs=1e-4)  # both are float32
    arguments = {"data_range": 1.0, "size_average": False, "win_size": window, "weights": weights}
    if size >= 64:
        expected = pytorch_msssim.ms_ssim(images, others, **arguments)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    else:
        with pytest.raises(AssertionError, match="larger than"):
            pytorch_msssim.ms_ssim(images, others, **arguments)
