import json
import re
import sys
from typing import get_args

import numpy as np
import pytest
import torch

from diffusion.covariance import eigenbasis
from diffusion.samplers import SAMPLERS
from experiment.seeds import bank_seeds
from experiment.tensors import read_tensors
from experiment.write import sha256
from report.faces import draw_face_grid
from report.operators import draw_operators
from report.style import save_figure
from sampling.compare_operators import compare_operators
from sampling.compare_samplers import (
    FLOW_KIND,
    FLOW_NAME,
    STEPS,
    compare_samplers,
    faces_by_sampler,
    gaussian_latents,
    planned_rows,
    read_rows,
    relative_distance,
)
from sampling.config import CompareSamplersConfig, OperatorConfig, SampleConfig, Sampler
from sampling.estimator_file import ESTIMATOR_FILE as ESTIMATOR_NAME
from sampling.estimator_file import Trained, load_estimator, save_estimator
from sampling.noise_estimator import NoiseEstimator
from sampling.sample_faces import SAMPLES_FILE, SAMPLES_KIND, decode, sample_faces
from scripts import compare_operators as operators_script
from scripts import sample_faces as script
from scripts.cli import main
from vae.checkpoint import VAE_FILE as VAE_NAME
from vae.checkpoint import load_vae
from vae.latents import LATENTS_FILE, load_latents, save_latents
from vae.model import to_uint8


@pytest.fixture
def models(model_run, tmp_path, monkeypatch):
    """Flags that name a small VAE, its latents (100 of 500 held out), and an estimator of them."""
    monkeypatch.setattr("sampling.compare_samplers.MARGIN_COUNT", 200)
    vae, latents = model_run
    found = load_latents(latents)
    found.splits[400:] = 1
    save_latents(latents / LATENTS_FILE, found)
    torch.manual_seed(0)
    data = eigenbasis(found.mean.numpy(), found.covariance.numpy())
    estimator = NoiseEstimator(data, width=8, depth=1)
    for parameter in estimator.mlp.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    trained = Trained(8, 1, 0, 128, sha256(vae / VAE_NAME), "drawn by the test")
    save_estimator(tmp_path / "estimator" / ESTIMATOR_NAME, estimator, trained)
    return {"vae": vae, "latents": latents, "estimator": tmp_path / "estimator"}


def without_latents(models):
    return {name: path for name, path in models.items() if name != "latents"}


def fails(monkeypatch, capsys, *arguments) -> str:
    """Exit status 2 with one line on stderr, which is returned."""
    monkeypatch.setattr(sys, "argv", ["sample_faces.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main(SampleConfig, script.run, "A job.")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_face_does_not_depend_on_how_many_are_drawn_with_it(sampler, models, tmp_path):
    latents = {}
    for count in (2, 5):
        out = tmp_path / f"{count}"
        config = SampleConfig(
            out=out,
            sampler=sampler,
            steps=4,
            count=count,
            **without_latents(models),
        )
        images = sample_faces(config)
        tensors, metadata = read_tensors(out / SAMPLES_FILE, SAMPLES_KIND, "draw them again")
        latents[count] = tensors["latents"]
        assert metadata["vae_sha256"] == sha256(models["vae"] / VAE_NAME)
        vae = load_vae(models["vae"] / VAE_NAME)
        assert torch.equal(tensors["images"], to_uint8(images))
        torch.testing.assert_close(decode(vae, tensors["latents"]), images, rtol=0, atol=1e-5)
    torch.testing.assert_close(latents[5][:2], latents[2], rtol=1e-4, atol=1e-5)


def test_the_script_leaves_faces_and_samples(models, tmp_path, monkeypatch, capsys):
    flags = [f"--{name}={path}" for name, path in without_latents(models).items()]
    arguments = ["--out", tmp_path / "run", "--count", 6, "--steps", 3, *flags]
    monkeypatch.setattr(sys, "argv", ["sample_faces.py", *map(str, arguments)])
    main(SampleConfig, script.run, "A job.")
    assert (tmp_path / "run/figures/faces.png").read_bytes().startswith(b"\x89PNG")
    assert "run/samples.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sampler", "dpm3"], "Expected one of ('ddim', 'euler_log_snr', 'dpmpp_2m'"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--spacing", "t", "--steps", "2000"], "--steps 2000, but cosine has 1000"),
        (["--sampler", "euler_log_snr", "--spacing", "t"], "--spacing t starts at alpha = 0"),
        (["--eta", "0.5"], "--eta works with --sampler ddim only"),
        (["--spacing", "karras", "--q-min", "90"], "need --q-max > --q-min > 0, got 20.0 and 90.0"),
        (["--compare"], "--compare is a command now: mergelab compare_samplers"),
        (["--spacing", "t", "--schedule", "sine"], "sine"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    flags, message, models, tmp_path, monkeypatch, capsys
):
    given = [f"--{name}={path}" for name, path in without_latents(models).items()]
    line = fails(monkeypatch, capsys, "--out", tmp_path / "run", *given, *flags)
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_grid_that_does_not_decrease_is_refused(models, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.json").write_text('{"alpha": [1, 0.6, 0.7, 0], "sigma": [0, 0.8, 0.7, 1]}')
    given = [f"--{name}={path}" for name, path in without_latents(models).items()]
    schedule = ["--spacing", "t", "--schedule", tmp_path / "bad.json", "--steps", 2]
    line = fails(monkeypatch, capsys, "--out", tmp_path / "run", *given, *schedule)
    assert "bad.json: not a schedule (schedule at t = 2" in line


def test_a_run_does_not_go_on_under_another_schedule(models, tmp_path):
    file = tmp_path / "schedule.json"
    flags = {"spacing": "t", "schedule": str(file), "steps": 2, "count": 2}
    config = SampleConfig(out=tmp_path / "run", **flags, **without_latents(models))
    file.write_text('{"alpha": [1, 0.8, 0], "sigma": [0, 0.6, 1]}')
    sample_faces(config)
    sample_faces(config)
    file.write_text('{"alpha": [1, 0.6, 0], "sigma": [0, 0.8, 1]}')
    with pytest.raises(ValueError, match=r"holds another run's results \(inputs.schedule is"):
        sample_faces(config)


def test_an_estimator_of_another_vae_is_refused(models, tmp_path, monkeypatch, capsys):
    arguments = ["--out", tmp_path / "run", "--vae", models["vae"]]
    line = fails(monkeypatch, capsys, *arguments)
    assert "trained on latents of the VAE with SHA-256" in line
    assert "train an estimator for this one" in line


def test_eta_1_draws_the_faces_of_ddpm_with_the_small_variance(models, tmp_path):
    found = []
    for sampler, eta in (("ddim", 1.0), ("ddpm_small", 0.0), ("ddim", 0.0)):
        out = tmp_path / f"{sampler}{eta}"
        flags = {"steps": 5, "count": 3} | without_latents(models)
        sample_faces(SampleConfig(out=out, sampler=sampler, eta=eta, **flags))
        found.append(
            read_tensors(out / SAMPLES_FILE, SAMPLES_KIND, "draw them again")[0]["latents"]
        )
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)
    assert (found[0] - found[2]).abs().max() > 0.1


def test_the_comparison_nears_the_flow_and_goes_on_where_it_stopped(models, tmp_path):
    config = CompareSamplersConfig(out=tmp_path / "run", count=40, **models)
    found = compare_samplers(config)
    rows = found.rows
    assert set(found.margins) == {"random directions", "principal directions"}
    assert len(rows) == 3 + len(STEPS) * len(SAMPLERS)
    distance = {(row.name, row.steps): row.to_flow for row in rows}
    for name in ("ddim", "euler_log_snr", "dpmpp_2m", "dpm_2m"):
        assert distance[name, 100] < 0.5 * distance[name, 10]
    assert distance["dpmpp_2m", 100] < 0.1 * distance["ddim", 100]
    assert distance["ddpm_large", 100] is None

    table = config.out / "results.csv"
    text = table.read_text()
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    again = compare_samplers(config).rows
    assert again[:-1] == rows[:-1] == read_rows(table)[:-1]
    assert again[-1].w2 == rows[-1].w2


def untrained(models):
    """The same models, with an estimator that has learnt nothing: its flow is the Gaussian's."""
    path = models["estimator"] / ESTIMATOR_NAME
    model, trained = load_estimator(path)
    for parameter in model.mlp.parameters():
        torch.nn.init.zeros_(parameter)
    save_estimator(path, model, trained)
    return models


@pytest.mark.parametrize(
    ("flags", "left_out"),
    [
        ({"schedule": "scaled_linear"}, set()),
        ({"schedule": "edm"}, set()),
        ({"schedule": "scaled_linear", "zero_snr": True}, {"euler_log_snr"}),
        ({}, {"euler_log_snr"}),
    ],
)
def test_samplers_walk_the_schedules_levels_from_where_it_starts(
    models, tmp_path, monkeypatch, flags, left_out
):
    """The exact flow of Gaussian latents takes z to mu + U diag(sqrt(lam)) U^T z on any schedule.

    Where the schedule keeps a signal that is so only if the walk starts at the noised latents.
    """
    monkeypatch.setattr("sampling.compare_samplers.STEPS", (5, 20))
    config = CompareSamplersConfig(
        out=tmp_path / "run", spacing="t", sampler="ddim", count=20, **flags, **untrained(models)
    )
    found = compare_samplers(config)
    assert {row.name for row in found.rows if row.steps} == SAMPLERS.keys() - left_out
    assert all(name in " ".join(found.left_out) for name in left_out)
    flow = read_tensors(config.out / FLOW_NAME, FLOW_KIND, "")[0]["latents"]
    expected = gaussian_latents(found.models, bank_seeds(0, 20))
    assert relative_distance(flow, expected) < 2e-3
    distance = {(row.name, row.steps): row.to_flow for row in found.rows}
    assert distance["dpmpp_2m", 20] < distance["ddim", 20] < distance["ddim", 5] < 0.5
    faces = faces_by_sampler(config, found.models)
    assert faces.keys() == {"gaussian", "flow", *(SAMPLERS.keys() - left_out)}
    assert (faces["flow"] - faces["gaussian"]).abs().max() < 0.05


def test_numbers_of_steps_that_a_schedule_lacks_are_left_out_in_words(models, tmp_path):
    np.save(tmp_path / "betas.npy", np.linspace(0.01, 0.4, 40))
    flags = {"out": tmp_path / "run", "spacing": "t", "schedule": str(tmp_path / "betas.npy")}
    rows, left_out = planned_rows(CompareSamplersConfig(**flags, **models))
    assert rows == [(name, steps) for steps in (5, 10, 20) for name in SAMPLERS]
    assert left_out == (f"50, 100 steps are left out, because {flags['schedule']} has 40.",)
    np.save(tmp_path / "betas.npy", np.linspace(0.1, 0.6, 9))
    with pytest.raises(ValueError, match="has 9 steps; this command needs 10 or more"):
        planned_rows(CompareSamplersConfig(**flags, **models))
    with pytest.raises(
        ValueError, match="--schedule and --zero-snr give the levels of --spacing t"
    ):
        CompareSamplersConfig(out=tmp_path / "run", schedule="edm", **models)


def test_the_margins_are_those_of_the_asked_sampler(models, tmp_path):
    found = [
        compare_samplers(
            CompareSamplersConfig(out=tmp_path / sampler, count=8, sampler=sampler, **models)
        ).margins["random directions"]
        for sampler in ("dpmpp_2m", "ddim")
    ]
    assert found[0].reference == found[1].reference
    assert found[0].samples != found[1].samples


def test_relative_distance_is_1_between_unrelated_samples():
    a, b = torch.randn(2, 4_000, 8, generator=torch.Generator().manual_seed(0)).unbind()
    assert relative_distance(a, b) == pytest.approx(1.0, abs=0.02)
    assert relative_distance(a, a) == 0


def test_an_untrained_estimators_steps_are_the_linear_ones(models, tmp_path, monkeypatch, capsys):
    untrained(models)
    found = compare_operators(OperatorConfig(out=tmp_path / "run", num_steps=8, **models))
    np.testing.assert_allclose(found.fitted, found.closed_form, atol=1e-5)
    assert [row.t for row in found.rows] == list(range(1, 9))
    assert max(row.from_full for row in found.rows) < 1e-4
    assert max(abs(row.error_removed) for row in found.rows) < 1e-4
    # These latents are uncorrelated but for the sampling noise of 500: little is off the diagonal.
    assert 0 < max(row.from_diagonal for row in found.rows[:-1]) < 0.3
    save_figure(draw_operators(found), tmp_path / "operators.png")
    flags = [f"--{name}={path}" for name, path in models.items()]
    monkeypatch.setattr(
        sys, "argv", ["x.py", *flags, f"--out={tmp_path / 'again'}", "--num-steps=4"]
    )
    main(OperatorConfig, operators_script.run, "A job.")
    steps = re.findall(r"^\| (\d+) \|", capsys.readouterr().out, re.MULTILINE)
    assert steps == ["1", "2", "3", "4"]


def test_a_grid_of_any_number_of_faces_holds_them_all():
    for count in (1, 7):
        images = torch.rand(count, 3, 64, 64)
        drawn = draw_face_grid(images, "a title").axes[0].images[0].get_array()[..., :3]
        bytes_of = [(255 * image).round().byte().permute(1, 2, 0).numpy() for image in images]
        for image in bytes_of:  # every face stands in the grid as it is
            corner = image[0, 0]
            places = np.argwhere((np.asarray(drawn) == corner).all(axis=-1))
            assert any(np.array_equal(drawn[y : y + 64, x : x + 64], image) for y, x in places)


def test_a_run_of_version_0_1_still_matches(models, tmp_path):
    """``--compare`` and its flags have left; config.json keeps what they were."""
    config = SampleConfig(out=tmp_path / "run", steps=2, count=2, **without_latents(models))
    sample_faces(config)
    recorded = json.loads((config.out / "config.json").read_text())["config"]
    assert recorded["compare"] is False
    assert recorded["latents"] is None
    assert recorded["compare_count"] == 2_000


def test_the_folder_of_a_former_comparison_is_refused_by_name(models, tmp_path):
    config = SampleConfig(out=tmp_path / "run", steps=2, count=2, **without_latents(models))
    sample_faces(config)
    file = config.out / "config.json"
    record = json.loads(file.read_text())
    record["config"]["compare"] = True
    file.write_text(json.dumps(record))
    said = r"run: was written by an older `sample_faces --compare`, .*; give another --out"
    with pytest.raises(ValueError, match=said):
        sample_faces(config)
    with pytest.raises(ValueError, match=said):
        compare_samplers(CompareSamplersConfig(out=config.out, count=2, **models))


def test_the_flags_know_every_sampler():
    assert set(get_args(Sampler)) == SAMPLERS.keys()
