"""--schedule and --zero-snr in the commands: recorded, compared on resume, kept apart."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from diffusion.gaussian import ddim_operators, noised_variances
from diffusion.samplers import ddim
from diffusion.schedule import scaled_linear_schedule, subsampled
from distill.compare_strategies import compare_strategies
from distill.comparison import open_comparison
from distill.config import PlanConfig, SimulateConfig
from distill.plan_merges import plan_merges
from distill.results import tabulate
from distill.simulate_students import simulate_students
from experiment.tensors import read_tensors
from neural.config import NeuralConfig
from neural.distill_neural import distill_neural
from planner.plan_file import read_plans
from sampling.config import SampleConfig, TrainConfig
from sampling.estimator_file import ESTIMATOR_FILE, Trained, load_estimator
from sampling.inputs import Models
from sampling.noise_estimator import NoiseEstimator
from sampling.sample_faces import (
    SAMPLES_FILE,
    SAMPLES_KIND,
    from_noised_gaussian,
    make_time_grid,
    sample_faces,
    sample_latents,
)
from sampling.train_noise_estimator import train_noise_estimator
from scripts.cli import main
from scripts.plan_merges import run as run_plan_merges
from tests.conftest import small_comparison
from vae.latents import LATENTS_FILE, load_latents, save_latents

VARIANCES = (0.5, 1.4)


def plan(out, **flags):
    config = PlanConfig(out=out, variances=VARIANCES, num_steps=4, **flags)
    return plan_merges(config, lambda line: None)[0].plan_set


def simulate(out, **flags):
    small = {"num_steps": (4,), "steps_per_merge": 20, "trials": 50, "batch_size": 64}
    return simulate_students(
        SimulateConfig(out=out, variances=VARIANCES, engine="simulated", **(small | flags))
    )


def test_plans_name_their_schedule_and_students_of_another_are_refused(tmp_path):
    for name, flags in (
        ("cosine", {}),
        ("scaled_linear", {"schedule": "scaled_linear"}),
        ("scaled_linear zero_snr", {"schedule": "scaled_linear", "zero_snr": True}),
    ):
        plan(tmp_path / name, **flags)
        path = tmp_path / name / "plans.json"
        assert json.loads(path.read_text())["schedule"]["name"] == name
        simulate(tmp_path / f"of {name}", plan=path, **flags)
    with pytest.raises(ValueError, match="schedule scaled_linear, this run has cosine; give"):
        simulate(tmp_path / "other", plan=tmp_path / "scaled_linear" / "plans.json")
    with pytest.raises(ValueError, match="scaled_linear zero_snr, this run has scaled_linear;"):
        simulate(
            tmp_path / "other",
            plan=tmp_path / "scaled_linear zero_snr" / "plans.json",
            schedule="scaled_linear",
        )
    with pytest.raises(ValueError, match=r"schedule cosine, this run has flow"):
        distill_neural(
            NeuralConfig(
                out=tmp_path / "other",
                plan=tmp_path / "cosine" / "plans.json",
                num_steps=4,
                schedule="flow",
            )
        )


def test_plans_of_earlier_versions_do_not_tell_their_schedule_and_are_read(tmp_path):
    plan(tmp_path / "run")
    path = tmp_path / "run" / "plans.json"
    content = json.loads(path.read_text())
    del content["schedule"]
    path.write_text(json.dumps(content))
    assert read_plans(path).schedule is None
    simulate(tmp_path / "students", plan=path)


def test_a_run_does_not_go_on_with_another_file_of_the_same_name(tmp_path):
    betas = tmp_path / "betas.npy"
    np.save(betas, np.linspace(0.1, 0.6, 8))
    found = plan(tmp_path / "run", schedule=str(betas))
    assert found.schedule.name.startswith("file ")
    plan(tmp_path / "run", schedule=str(betas))
    np.save(betas, np.linspace(0.1, 0.5, 8))
    with pytest.raises(ValueError, match=r"holds another run's results \(inputs.schedule is"):
        plan(tmp_path / "run", schedule=str(betas))


def test_the_closed_form_is_the_mean_of_simulated_runs_that_start_with_a_signal(tmp_path):
    for row in simulate(tmp_path / "run", schedule="edm", batches="fresh", trials=400):
        assert abs(row.mean - row.predicted) < 5 * row.standard_error + 1e-12


def test_both_engines_train_from_the_noised_data_and_a_comparison_is_opened_again(
    model_run, tmp_path
):
    flags = {"schedule": "scaled_linear", "steps_per_merge": (20,), "budgets": ("per_merge",)}
    config = small_comparison(tmp_path / "closed", model_run, **flags)
    comparison = compare_strategies(config)
    rows = tabulate(comparison, 2, 0)
    trained = compare_strategies(replace(config, out=tmp_path / "sgd", engine="sgd", workers=1))
    for closed, sgd in zip(comparison.students.values(), trained.students.values(), strict=True):
        np.testing.assert_allclose(sgd.operator, closed.operator, rtol=2e-5)

    schedule = subsampled(scaled_linear_schedule(), 4)
    weights = noised_variances(schedule, comparison.problem.variances)[-1]
    composite = ddim_operators(schedule, comparison.problem.variances).prod(axis=0)
    for row, students in zip(rows, comparison.students.values(), strict=True):
        by_hand = (weights * (students.operator - composite) ** 2).sum()
        assert row.w2_squared_to_composite == pytest.approx(by_hand, rel=1e-9)

    again = open_comparison(tmp_path / "closed", None, "cpu")
    assert again.problem.schedule == comparison.problem.schedule
    assert again.problem.schedule.name == "scaled_linear"
    assert [row.w2_squared for row in tabulate(again, 2, 0)] == [row.w2_squared for row in rows]


@pytest.mark.parametrize("name", ["scaled_linear", "edm"])
def test_neural_students_start_from_pure_noise_and_say_so(tmp_path, name):
    config = NeuralConfig(out=tmp_path / "run", num_steps=4, schedule=name)
    with pytest.raises(ValueError, match=rf"{name} keeps the signal alpha_T = 0.0.* --zero-snr"):
        distill_neural(config)
    assert not (tmp_path / "run").exists()


def test_neural_students_are_trained_on_a_rescaled_schedule(tmp_path):
    found = distill_neural(
        NeuralConfig(
            out=tmp_path / "run",
            schedule="scaled_linear",
            zero_snr=True,
            num_steps=4,
            steps_per_merge=(3,),
            **{"seeds": 1, "teachers": 1, "teacher_steps": 10, "batch_size": 8, "noises": 32},
            device="cpu",
        )
    )
    assert found.setting.schedule.name == "scaled_linear zero_snr"
    assert {row.strategy for row in found.rows} > {"vanilla", "sequential_boot"}


def test_an_estimator_records_its_schedule_and_is_not_asked_beyond_its_levels(
    model_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("sampling.train.COUNT", 32)
    vae, folder = model_run
    latents = load_latents(folder)
    latents.splits[400:] = 1
    save_latents(folder / LATENTS_FILE, latents)
    small = {"gradient_steps": 4, "batch_size": 8, "width": 8, "depth": 1, "device": "cpu"}
    out = tmp_path / "estimator"
    train_noise_estimator(
        TrainConfig(folder, out, **small, num_levels=100, schedule="scaled_linear")
    )
    _, trained = load_estimator(out / ESTIMATOR_FILE)
    assert trained.schedule == "scaled_linear"
    assert np.tan(trained.largest_angle) == pytest.approx(14.6, abs=0.02)  # sigma_T / alpha_T

    faces = {"estimator": out, "vae": vae, "count": 2, "steps": 4, "device": "cpu"}
    own = {"spacing": "t", "schedule": "scaled_linear", "sampler": "ddim"}
    sample_faces(SampleConfig(out=tmp_path / "own", **faces, **own))
    read_tensors(tmp_path / "own" / SAMPLES_FILE, SAMPLES_KIND, "")
    sample_faces(SampleConfig(out=tmp_path / "inside", **faces, q_max=14.0, q_min=0.2))
    for flags in ({}, {"spacing": "t", "sampler": "ddim"}, own | {"zero_snr": True}):
        with pytest.raises(ValueError, match=r"trained on the schedule scaled_linear, whose sigma"):
            sample_faces(SampleConfig(out=tmp_path / "beyond", **faces, **flags))


def test_faces_start_from_the_noised_gaussian_where_the_schedule_keeps_a_signal():
    """For an estimator that has learnt nothing DDIM is linear, so its samples are known."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    data = Eigenbasis(rng.standard_normal(3), np.array([0.2, 1.0, 3.0]), basis)
    model = NoiseEstimator(data, 4, 1).double().requires_grad_(False)
    config = SampleConfig(out="unused", spacing="t", schedule="scaled_linear", steps=6)
    grid = make_time_grid(config, 6)
    models = Models(model, None, {}, torch.device("cpu"), Trained(4, 1, 0, 3, "", ""))
    started = []

    def start(z):
        started.append(z.double())
        return from_noised_gaussian(model, grid)(z.double())

    found = sample_latents(ddim, models, grid, range(5), start).numpy()
    schedule = subsampled(scaled_linear_schedule(), 6)
    scale = ddim_operators(schedule, data.variances).prod(axis=0)
    scale = scale * np.sqrt(noised_variances(schedule, data.variances)[-1])
    expected = data.mean + ((started[0].numpy() @ basis) * scale) @ basis.T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "sine"], "sine: no such file, and none of cosine, linear_beta, scaled_"),
        (["--schedule", "{}/empty.csv"], "empty.csv: not a schedule"),
        (["--schedule", "{}"], "cannot be read"),
        (["--schedule", "{}/betas.json"], "betas[1] is 1.5, must be above 0 and below 1"),
        (["--schedule", "{}/sigmas.csv", "--num-steps", "9"], "sigmas.csv has 2; give no more"),
        (["--schedule", "scaled_linear", "--num-steps", "2000"], "scaled_linear has 1000; give"),
    ],
)
def test_a_bad_schedule_is_one_line_and_status_2(monkeypatch, capsys, tmp_path, arguments, message):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "betas.json").write_text('{"betas": [0.1, 1.5]}')
    (tmp_path / "sigmas.csv").write_text("sigmas\n3\n1\n0\n")
    given = [argument.format(tmp_path) for argument in arguments]
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["x", "--variances", "1", *given, "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main(PlanConfig, run_plan_merges, "")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
    assert not out.exists()


def test_a_schedule_without_its_spacing_is_refused():
    with pytest.raises(ValueError, match="give the levels of --spacing t, not of log_snr"):
        SampleConfig(out="unused", schedule="edm")
