import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import distill.compare
from distill.compare import compare, reopen
from distill.config import CompareConfig
from distill.decode import decode_operator, noise_bank, pixel_l2
from distill.noise import seeded_noise
from distill.results import tabulate, write_results
from report.comparison import draw_w2, table, write_summary
from report.grids import draw_grids
from vae.checkpoint import save_vae
from vae.model import LATENT_DIM, VAE


@pytest.fixture
def config(model_run, tmp_path) -> CompareConfig:
    vae, latents = model_run
    return CompareConfig(
        out=tmp_path / "run",
        vae=vae,
        latents=latents,
        num_steps=5,
        epochs=(2, 40),
        batch_size=256,
        num_images=4,
        device="cpu",
    )


def test_a_run_compares_all_strategies_and_the_per_dimension_plan_is_predicted_best(
    config, tmp_path
):
    comparison = compare(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    assert comparison.inputs == "latents"
    assert len(rows) == 12
    for epochs in config.epochs:
        predicted = {r.strategy: r.w2_squared_predicted for r in rows if r.epochs == epochs}
        assert min(predicted, key=predicted.get) == "per_dimension"
    for row in rows:
        assert row.rms_deviation == pytest.approx(1.0, abs=0.4)  # 128 coordinates: s.e. 0.06
        assert row.w2_squared == pytest.approx(row.w2_squared_predicted, rel=0.3)

    write_results(tmp_path / "results.csv", rows)
    with (tmp_path / "results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [float(row["w2_squared"]) for row in read] == [row.w2_squared for row in rows]


def test_a_stopped_run_goes_on_and_gives_the_numbers_of_a_whole_one(config, monkeypatch):
    whole = compare(replace(config, out=config.out.with_name("whole")))
    train, calls = distill.compare.train_students, []

    def stop_at_the_fourth(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(distill.compare, "train_students", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        compare(config)
    with pytest.raises(FileNotFoundError, match="no finished run"):
        reopen(config.out, None, "cpu")
    resumed = compare(config)
    assert len(calls) == 4 + 12 - 3
    for ours, theirs in zip(resumed.students, whole.students, strict=True):
        np.testing.assert_array_equal(ours.operator, theirs.operator)
    compare(config)
    assert len(calls) == 13  # nothing is trained twice


def test_mistakes_are_refused_before_anything_is_written(config, model_run, tmp_path):
    def refused(message, **changes):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            compare(replace(config, **changes))
        assert not (tmp_path / "run").exists()

    refused(r"--lr 0.2 is unstable for coordinate \d+ with variance 1\.\d+; below 0\.02", lr=0.2)
    refused("needs --latents encoded by it", latents=None)
    refused("no such file", latents=tmp_path / "nowhere")
    refused("--device warp: not available here", device="warp")
    save_vae(tmp_path / "other.safetensors", VAE())
    refused("not encoded by", vae=tmp_path / "other.safetensors")
    path = model_run[1] / "latents.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused("not a whole safetensors file")


def test_another_runs_results_are_left_alone(config):
    compare(config)
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"another run's results \(config.seed is 0 there, 1 here"):
        compare(replace(config, seed=1))
    assert before == {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "--num-steps must be positive, got 0"),
        ({"lr": float("nan")}, "--lr must be positive, got nan"),
        ({"epochs": (10, 0)}, "--epochs must be different whole numbers"),
        ({"epochs": (10, 10)}, "--epochs must be different whole numbers"),
        ({"seed": -1}, "--seed must be at least 0"),
    ],
)
def test_impossible_flags_are_refused_by_name_and_value(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize("num_steps", [1, 2, 6, 7])
def test_any_number_of_steps_runs_also_where_progressive_cannot_halve(config, num_steps):
    comparison = compare(replace(config, num_steps=num_steps, epochs=(2,)))
    assert len(comparison.students) == 6
    assert all(np.isfinite(students.operator).all() for students in comparison.students)


def test_gaussian_inputs_can_be_chosen_where_latents_are_there(config):
    assert compare(replace(config, inputs="gaussian", epochs=(2,))).inputs == "gaussian"


def test_a_finished_run_opens_again_and_refuses_another_vae(config, tmp_path):
    comparison = compare(config)
    again = reopen(config.out, None, "cpu")
    for ours, theirs in zip(again.students, comparison.students, strict=True):
        np.testing.assert_array_equal(ours.operator, theirs.operator)
    np.testing.assert_array_equal(again.problem.surrogate, comparison.problem.surrogate)
    save_vae(tmp_path / "other.safetensors", VAE())
    with pytest.raises(ValueError, match="not the VAE of"):
        reopen(config.out, tmp_path / "other.safetensors", "cpu")


def test_pictures_and_summary_are_drawn_of_what_was_measured(config):
    comparison = compare(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    figures = config.out / "figures"
    draw_w2(figures / "w2.png", rows)
    grids = draw_grids(figures, comparison, config.seed, first=0, columns=3)
    assert [path.name for path in grids] == ["faces_00002_epochs.png", "faces_00040_epochs.png"]
    text = write_summary(config.out / "summary.md", rows, {"commit": "abc"}, [figures / "w2.png"])
    assert "![w2](figures/w2.png)" in text
    for row in rows:
        assert f"{row.w2_squared:.3e}" in text
    best = min(rows[:6], key=lambda row: row.w2_squared)
    assert f"**{best.w2_squared:.3e}**" in table(rows)
    for path in [figures / "w2.png", *grids]:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_image_depends_on_its_own_seed_alone(model_run):
    assert torch.equal(noise_bank(3, 5, 2, LATENT_DIM), noise_bank(3, 0, 8, LATENT_DIM)[5:7])
    assert torch.equal(seeded_noise([9, 4], 16)[1], seeded_noise([4], 16)[0])
    assert not torch.equal(noise_bank(3, 0, 4, 16), noise_bank(4, 0, 4, 16))
    model, mean, ones = VAE().eval(), torch.zeros(LATENT_DIM), np.ones(LATENT_DIM)
    z_T = noise_bank(0, 0, 6, LATENT_DIM)
    together = decode_operator(model, ones, mean, z_T)
    torch.testing.assert_close(together[4:5], decode_operator(model, ones, mean, z_T[4:5]))


def test_the_decoded_latent_is_the_scaled_noise_with_the_mean_added_back():
    class Identity(torch.nn.Linear):
        def decode(self, latents):
            return latents

    z_T = torch.randn(3, 4)
    operator, mean = np.array([0.0, 0.5, 1.0, 2.0]), torch.arange(4.0)
    found = decode_operator(Identity(4, 4), operator, mean, z_T)
    torch.testing.assert_close(found, mean + torch.from_numpy(operator).float() * z_T)


def test_pixel_l2_is_the_norm_over_all_pixels_and_channels():
    images = torch.zeros(2, 3, 64, 64)
    others = images.clone()
    others[1, 0, 0, :2] = torch.tensor([3.0, 4.0])
    assert pixel_l2(images, others).tolist() == [0.0, 5.0]
