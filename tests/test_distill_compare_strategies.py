import csv
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

import distill.executors
from distill.compare_strategies import compare_strategies
from distill.comparison import open_comparison
from distill.config import CompareConfig
from distill.decode import decode_operator, likeness, noise_bank, pixel_l2
from distill.jobs import plan_stage
from distill.results import ResultRow, over_seeds, tabulate
from experiment.seeds import seeded_noise
from experiment.tensors import read_tensors
from experiment.write import sha256, write_json, write_rows
from planner.budget import Stage
from planner.plan import outline
from planner.plan_file import to_json
from report.comparison import write_report
from scripts.cli import present_spelling
from tests.conftest import small_comparison
from vae.checkpoint import save_vae
from vae.model import LATENT_DIM, VAE

STRATEGIES = 7


@pytest.fixture
def config(model_run, tmp_path) -> CompareConfig:
    return small_comparison(tmp_path / "run", model_run, num_steps=5)


@pytest.mark.parametrize("engine", ["sgd", "closed_form"])
def test_a_run_compares_all_strategies_and_the_per_dimension_plan_is_predicted_best(
    config, tmp_path, engine
):
    comparison = compare_strategies(replace(config, engine=engine, workers=1))
    rows = tabulate(comparison, config.num_images, config.seed)
    assert comparison.inputs == "latents"
    assert len(rows) == STRATEGIES * 2 * 2
    assert {row.engine for row in rows} == {engine}
    for steps in config.steps_per_merge:
        stage = [r for r in rows if r.stage == Stage("per_merge", steps)]
        predicted = {r.strategy: r.w2_squared_predicted for r in stage}
        assert min(predicted, key=predicted.get) == "per_dimension"
    for row in rows:
        assert row.rms_deviation == pytest.approx(1.0, abs=0.4)  # 128 coordinates: s.e. 0.06
        assert row.w2_squared == pytest.approx(row.w2_squared_predicted, rel=0.3)
        assert row.pixel_l2_low <= row.pixel_l2 <= row.pixel_l2_high

    write_rows(tmp_path / "results.csv", rows, ResultRow)
    with (tmp_path / "results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [float(row["w2_squared"]) for row in read] == [row.w2_squared for row in rows]


def test_the_three_targets_of_a_row_are_the_surrogate_the_composite_and_the_data(config):
    comparison = compare_strategies(
        replace(config, steps_per_merge=(200_000,), budgets=("per_merge",))
    )
    problem = comparison.problem
    composite = problem.operators.prod(axis=0)
    for row in tabulate(comparison, config.num_images, config.seed):
        # Trained for so long that every student is the teacher's composite.
        assert row.w2_squared_to_composite < 1e-20
        assert row.w2_squared == pytest.approx(np.square(problem.surrogate - composite).sum())
        gap = np.sqrt(problem.variances) - composite
        assert row.w2_squared_to_data == pytest.approx(np.square(gap).sum())


def test_plans_of_all_merges_are_the_same_under_both_budgets_and_trained_once(config):
    comparison = compare_strategies(config)
    students = {
        (case.strategy, case.stage.budget): found
        for case, found in comparison.students.items()
        if case.stage.steps_per_merge == 2
    }
    for name in ("progressive", "sequential_boot", "sequential_consistency"):
        assert students[name, "total"] is students[name, "per_merge"]
        assert students[name, "total"].gradient_steps == 8
    assert students["vanilla", "per_merge"].gradient_steps == 2
    assert students["vanilla", "total"].gradient_steps == 8


def test_every_seed_has_batches_of_its_own_and_means_are_over_seeds(config):
    comparison = compare_strategies(
        replace(config, num_seeds=2, steps_per_merge=(2,), budgets=("total",))
    )
    rows = tabulate(comparison, config.num_images, config.seed)
    first, second = (row for row in rows if row.strategy == "vanilla")
    assert (first.seed, second.seed) == (0, 1)
    assert first.w2_squared != second.w2_squared
    (mean,) = (row for row in over_seeds(rows) if row.strategy == "vanilla")
    assert mean.w2_squared == pytest.approx((first.w2_squared + second.w2_squared) / 2)


def test_a_stopped_run_resumes_and_gives_the_numbers_of_a_whole_one(config, monkeypatch):
    whole = compare_strategies(replace(config, out=config.out.with_name("whole")))
    do_job, calls = distill.executors.do_job, []

    def stop_at_the_fourth(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return do_job(*arguments)

    monkeypatch.setattr(distill.executors, "do_job", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        compare_strategies(config)
    with pytest.raises(FileNotFoundError, match="no finished run"):
        open_comparison(config.out, None, "cpu")
    assert len(list((config.out / "students").iterdir())) == 3
    resumed = compare_strategies(replace(config, workers=1))  # changes no number
    trained = len({id(students) for students in whole.students.values()})
    assert len(calls) == 4 + trained - 3
    for ours, theirs in zip(resumed.students.values(), whole.students.values(), strict=True):
        np.testing.assert_array_equal(ours.operator, theirs.operator)
    compare_strategies(config)
    assert len(calls) == 1 + trained  # nothing is trained twice


def test_mistakes_are_refused_before_anything_is_written(config, model_run, tmp_path):
    def refused(message, **changes):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            compare_strategies(replace(config, **changes))
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
    compare_strategies(config)
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"another run's results \(config.seed is 0 there, 1 here"):
        compare_strategies(replace(config, seed=1))
    assert before == {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "--num-steps must be positive, got 0"),
        ({"lr": float("nan")}, "--lr must be positive, got nan"),
        ({"steps_per_merge": (10, 0)}, "--steps-per-merge must be at least 1, got 0"),
        ({"steps_per_merge": (10, 10)}, "--steps-per-merge must be one or more different values"),
        ({"seed": -1}, "--seed must be from 0 to 4294967295, got -1"),
        ({"student_steps": (1, 0)}, "--student-steps must be at least 1, got 0"),
        ({"student_steps": (1, 6)}, "--student-steps must be at most 5, got 6"),
        ({"student_steps": (1, 2), "plan": Path("plans.json")}, "--plan is for one number of"),
        ({"budgets": ("total", "total")}, "--budgets must be one or more different values"),
        ({"num_seeds": 0}, "--num-seeds must be positive, got 0"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"workers": 2, "scheduler": "tcp://a:1"}, "either --workers, of this machine, or"),
    ],
)
def test_impossible_flags_are_refused_by_name_and_value(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize("num_steps", [1, 2, 6, 7])
def test_any_number_of_steps_runs_also_where_progressive_cannot_halve(config, num_steps):
    comparison = compare_strategies(replace(config, num_steps=num_steps, steps_per_merge=(2,)))
    assert len(comparison.students) == 2 * STRATEGIES
    found = comparison.students.values()
    assert all(np.isfinite(students.operator).all() for students in found)


def test_gaussian_inputs_can_be_chosen_where_latents_are_there(config):
    assert (
        compare_strategies(replace(config, inputs="gaussian", steps_per_merge=(2,))).inputs
        == "gaussian"
    )


def assert_equal(ours, theirs):
    """Two comparisons, field by field and to the bit."""
    assert [f.name for f in fields(ours)] == [f.name for f in fields(theirs)]
    for name in ("inputs", "lr", "seed", "data_fingerprint"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.covariance, theirs.covariance)
    for name in ("variances", "second_moments", "operators", "surrogate"):
        np.testing.assert_array_equal(getattr(ours.problem, name), getattr(theirs.problem, name))
    for name in ("alpha", "sigma"):
        schedules = (comparison.problem.schedule for comparison in (ours, theirs))
        np.testing.assert_array_equal(*(getattr(schedule, name) for schedule in schedules))
    assert list(ours.plans) == list(theirs.plans)
    for stage, plan_set in ours.plans.items():
        assert to_json(plan_set) == to_json(theirs.plans[stage])
        for strategy, plans in plan_set.plans.items():
            other = theirs.plans[stage].plans[strategy]
            assert [outline(plan) for plan in plans] == [outline(plan) for plan in other]
    assert list(ours.students) == list(theirs.students)
    for case, students in ours.students.items():
        for name, value in vars(students).items():
            np.testing.assert_array_equal(value, getattr(theirs.students[case], name))
    sharing = [
        [list(comparison.students.values()).index(s) for s in comparison.students.values()]
        for comparison in (ours, theirs)
    ]
    assert sharing[0] == sharing[1]  # the same cases have the same students
    assert next(ours.model.parameters()).device == next(theirs.model.parameters()).device
    assert ours.model.training == theirs.model.training
    weights = theirs.model.state_dict()
    assert list(ours.model.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[n]) for n, value in ours.model.state_dict().items())


@pytest.mark.parametrize("engine", ["sgd", "closed_form"])
def test_what_a_run_computed_is_what_its_folder_holds(config, engine):
    config = replace(config, engine=engine, num_seeds=2, workers=1)
    comparison = compare_strategies(config)
    assert_equal(comparison, open_comparison(config.out, None, "cpu"))
    assert_equal(comparison, compare_strategies(config))


def test_given_plans_are_those_of_every_stage(config, tmp_path):
    problem = compare_strategies(config).problem
    plan_set = plan_stage(Stage("per_merge", 7), problem, config.lr)
    write_json(tmp_path / "plans.json", to_json(plan_set))
    planned = replace(config, out=tmp_path / "planned", plan=tmp_path / "plans.json")
    comparison = compare_strategies(planned)
    assert len(comparison.plans) == 4
    assert all(to_json(found) == to_json(plan_set) for found in comparison.plans.values())
    assert_equal(comparison, open_comparison(planned.out, None, "cpu"))


def test_the_best_split_of_the_same_steps_is_trained_resumed_and_reported(config, tmp_path):
    config = replace(config, budgets=("total", "best_split"), steps_per_merge=(7,))
    comparison = compare_strategies(config)
    assert_equal(comparison, open_comparison(config.out, None, "cpu"))
    assert_equal(comparison, compare_strategies(config))
    rows = tabulate(comparison, config.num_images, config.seed)
    equal, best = ({r.strategy: r for r in rows if r.budget == b} for b in config.budgets)
    assert list(best) == [name for name in equal if name != "pareto"]
    for name, row in best.items():
        assert row.gradient_steps == equal[name].gradient_steps == 28
        # Whole steps and the mean over simulated runs leave a little of the gain in theory.
        assert row.w2_squared_expected <= equal[name].w2_squared_expected * 1.01
        assert row.w2_squared == pytest.approx(row.w2_squared_predicted, rel=0.3)
    assert best["sequential_boot"].w2_squared < 0.95 * equal["sequential_boot"].w2_squared
    text, _ = write_report(config.out, comparison, rows, config.seed)
    gains = text.split("Equal shares of the total against the best split:")[1]
    assert f"{equal['progressive'].w2_squared:.3e}" in gains
    assert f"{best['progressive'].w2_squared:.3e}" in gains


def test_plans_without_a_split_cannot_be_trained_with_their_best(config, tmp_path):
    problem = compare_strategies(config).problem
    write_json(tmp_path / "plans.json", to_json(plan_stage(Stage("total", 7), problem, config.lr)))
    planned = replace(config, out=tmp_path / "planned", plan=tmp_path / "plans.json")
    with pytest.raises(ValueError, match="plan again with plan_merges --budget best_split"):
        compare_strategies(replace(planned, budgets=("best_split",)))


def test_students_of_several_steps_stand_beside_those_of_one_and_are_read_back(config):
    config = replace(config, student_steps=(1, 2, 5), steps_per_merge=(40,))
    comparison = compare_strategies(config)
    assert_equal(comparison, open_comparison(config.out, None, "cpu"))
    rows = tabulate(comparison, config.num_images, config.seed)
    assert len(rows) == 3 * 2 * STRATEGIES
    alone = replace(config, student_steps=(1,), out=config.out.with_name("alone"))
    for case, students in compare_strategies(alone).students.items():
        np.testing.assert_array_equal(students.operator, comparison.students[case].operator)
    for row in rows:
        assert row.w2_squared == pytest.approx(row.w2_squared_predicted, rel=0.3)
        assert row.gradient_steps <= 4 * 40
        if row.student_steps == 5:  # as many as the teacher has: nothing to learn
            assert row.merges == row.gradient_steps == 0
            assert row.w2_squared_to_composite < 1e-25


def test_plans_of_several_steps_train_students_of_as_many(config, tmp_path):
    problem = compare_strategies(config).problem
    plan_set = plan_stage(Stage("per_merge", 7, 2), problem, config.lr)
    write_json(tmp_path / "plans.json", to_json(plan_set))
    planned = replace(config, out=tmp_path / "planned", plan=tmp_path / "plans.json")
    with pytest.raises(ValueError, match=r"of K = 2, this run trains students of K = 1"):
        compare_strategies(planned)
    comparison = compare_strategies(replace(planned, student_steps=(2,)))
    assert all(to_json(found) == to_json(plan_set) for found in comparison.plans.values())


def test_a_finished_run_refuses_another_vae(config, tmp_path):
    compare_strategies(config)
    save_vae(tmp_path / "other.safetensors", VAE())
    with pytest.raises(ValueError, match="not the VAE of"):
        open_comparison(config.out, tmp_path / "other.safetensors", "cpu")


def test_inputs_are_read_and_hashed_once_and_nothing_that_was_just_written(config, monkeypatch):
    read = []

    def counting(path, *arguments):
        read.append(path.name)
        return read_tensors(path, *arguments)

    for reader in ("distill.comparison", "vae.checkpoint", "vae.latents"):
        monkeypatch.setattr(f"{reader}.read_tensors", counting)
    monkeypatch.setattr("planner.plan_file.read_json", lambda path: read.append(path.name))
    hashed = []

    def noting(path):
        hashed.append(path.name)
        return sha256(path)

    for caller in ("distill.comparison", "distill.compare_strategies", "vae.latents"):
        monkeypatch.setattr(f"{caller}.sha256", noting)
    compare_strategies(replace(config, inputs="gaussian"))
    assert sorted(read) == sorted(hashed) == ["latents.safetensors", "vae.safetensors"]


def test_former_flags_mean_the_present_ones_and_records_keep_their_names(config):
    compare_strategies(config)
    recorded = json.loads((config.out / "config.json").read_text())["config"]
    assert (recorded["engine"], recorded["epochs"]) == ("exact", [2, 40])
    said = ["--out", "exact", "--epochs", "2", "40", "--engine", "exact"]
    asked = tyro.cli(CompareConfig, args=present_spelling(CompareConfig, said))
    assert (asked.steps_per_merge, asked.engine, asked.out.name) == (
        (2, 40),
        "closed_form",
        "exact",
    )
    assert present_spelling(CompareConfig, ["--engine=exact"]) == ["--engine=closed_form"]


def test_an_image_depends_only_on_its_own_seed(model_run):
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


def test_likeness_of_equal_images_is_perfect_and_intervals_hold_their_mean():
    images = torch.rand(40, 3, 64, 64)
    same = likeness(images, images)
    assert (same.l2, same.l2_low, same.l2_high) == (0.0, 0.0, 0.0)
    assert same.ssim == pytest.approx(1.0)
    noisy = likeness((images + 0.1 * torch.randn_like(images)).clamp(0, 1), images)
    assert noisy.ssim < 0.999


def test_the_bootstrap_interval_is_that_of_the_normal_law_for_many_images():
    """For 400 distances of a known spread: mean ± 1.96 standard errors, to a few per cent."""
    distances = torch.linspace(1.0, 3.0, 400)
    images = torch.zeros(400, 3, 64, 64)
    images[:, 0, 0, 0] = distances
    found = likeness(images, torch.zeros_like(images))
    half = 1.96 * distances.std().item() / 20
    assert found.l2 == pytest.approx(2.0)
    assert found.l2_low == pytest.approx(2.0 - half, abs=0.1 * half)
    assert found.l2_high == pytest.approx(2.0 + half, abs=0.1 * half)
