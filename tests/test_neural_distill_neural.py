"""The command distill_neural in small: resumed, diverging, with a plan file, on latents."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from diffusion.schedule import cosine_schedule
from experiment.read import read_table
from experiment.write import sha256, write_json
from neural.config import NeuralConfig
from neural.distill_neural import NeuralRow, distill_neural, program_path
from neural.student_plans import COMPUTE_BUDGETS
from planner.budget import Budget
from planner.plan_all import plan_every_strategy
from planner.plan_file import to_json
from planner.problem import make_problem
from report.neural import advice, report_neural, score_sentence
from sampling.estimator_file import ESTIMATOR_FILE, UNKNOWN_VAE, Trained, save_estimator
from sampling.noise_estimator import NoiseEstimator
from vae.checkpoint import VAE_FILE
from vae.model import LATENT_DIM


def small(out: Path, **flags: object) -> NeuralConfig:
    same = {"num_steps": 4, "steps_per_merge": (3, 6), "student_steps": (1, 2), "seeds": 2}
    sizes = {"teacher_steps": 20, "batch_size": 8, "width": 8, "depth": 2, "noises": 64}
    device = {"device": "cpu"}
    return NeuralConfig(out=out, **(same | sizes | device | flags))


def results(rows: list[NeuralRow]) -> list[str]:
    """Rows without what depends on how fast the machine is."""
    return [repr(replace(row, seconds=0.0)) for row in rows]  # nan differs from nan


def test_a_run_goes_on_where_it_stopped_and_comes_to_the_same(tmp_path):
    whole = distill_neural(small(tmp_path / "whole"))
    stopped = tmp_path / "stopped"
    distill_neural(small(stopped))
    cells = sorted((stopped / "cells").iterdir())
    for path in cells[::2]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in cells[1::2]}
    again = distill_neural(small(stopped))
    assert results(again.rows) == results(whole.rows)
    for key, points in whole.shown.items():
        assert torch.equal(points, again.shown[key])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_teachers_are_trained_once_and_students_are_told_apart_by_seed(tmp_path):
    found = distill_neural(small(tmp_path, teachers=2))
    row = next(row for row in found.rows if row.strategy == "sequential_boot")
    assert row.std_seeds > 0
    assert row.std_teachers > 0
    outputs = found.setting.reference.outputs
    assert torch.equal(outputs[0], outputs[1])  # two students of the first teacher
    assert not torch.equal(outputs[1], outputs[2])


def test_strategies_with_equal_plans_share_their_students(tmp_path):
    distill_neural(small(tmp_path, student_steps=(2,), budgets=("per_merge",)))
    names = {path.stem for path in (tmp_path / "cells").iterdir()}
    assert names == {"vanilla_K2_3", "vanilla_K2_6"}  # blocks of two steps: one plan for all


def test_what_diverges_is_told_in_a_line_and_the_others_go_on(tmp_path, capsys):
    """Data of variance 40: x_T has variance 1, cleaner inputs have far more and need a lower lr."""
    steep = {"optimizer": "sgd", "lr": 0.35, "variances": (40.0, 40.0)}
    config = small(tmp_path, student_steps=(1,), steps_per_merge=(40,), **steep)
    found = distill_neural(config)
    diverged = {row.strategy: row.diverged for row in found.rows if row.diverged}
    assert set(diverged) == {"progressive", "sequential_consistency"}
    assert all(row.error < 2 for row in found.rows if not row.diverged)
    said = capsys.readouterr()
    for strategy, reason in diverged.items():
        assert "the merge x_" in reason
        assert reason.endswith("with learning rate 0.35")
        assert f"{strategy}: {reason}" in said.out + said.err
    report_neural(tmp_path, found)
    assert "diverged" in (tmp_path / "summary.md").read_text()
    again = distill_neural(config)
    assert results(again.rows) == results(found.rows)


def test_where_every_strategy_diverges_one_line_says_so_and_nothing_is_recommended(tmp_path):
    config = small(tmp_path, optimizer="sgd", lr=1e30, budgets=("per_merge",))
    for _ in range(2):  # what is recorded is not trained again
        with pytest.raises(
            FloatingPointError, match=r"^every strategy diverged \(vanilla: the merge"
        ):
            distill_neural(config)
    assert len(list((tmp_path / "cells").iterdir())) > 4


def test_where_one_strategy_is_left_nothing_is_recommended(tmp_path):
    rows = distill_neural(small(tmp_path, student_steps=(1,), budgets=("per_merge",))).rows
    left = [
        row if row.strategy == "vanilla" else replace(row, error=math.inf, diverged="it did")
        for row in rows
    ]
    assert advice(left) == "Too many strategies diverged to recommend one; give a smaller --lr."
    assert score_sentence(left) == "Too many strategies diverged to judge the law."


def test_variances_that_no_theory_covers_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"--variances must be positive, at most 1e\+30"):
        distill_neural(small(tmp_path / "run", variances=(1e38, 1.0)))
    assert not (tmp_path / "run").exists()


def test_a_shared_student_runs_under_the_same_plans(tmp_path):
    own = distill_neural(small(tmp_path / "own"))
    shared = distill_neural(small(tmp_path / "shared", student="shared"))
    same = ("strategy", "student_steps", "budget", "updates", "merges", "forwards")
    for one, other in zip(own.rows, shared.rows, strict=True):
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
        assert one.error != other.error or one.merges == 0


def test_the_joint_plan_of_a_file_is_one_more_strategy(tmp_path):
    problem = make_problem(cosine_schedule(4), np.array([0.17, 1.55]))
    path = tmp_path / "plans.json"
    write_json(path, to_json(plan_every_strategy(problem, Budget(1.6))))
    found = distill_neural(small(tmp_path / "run", plan=path))
    strategies = {(row.strategy, row.student_steps) for row in found.rows}
    assert ("pareto", 1) in strategies
    assert ("pareto", 2) not in strategies
    report_neural(tmp_path / "run", found)
    with pytest.raises(ValueError, match="the plans have 4 steps, but --num-steps is 5"):
        distill_neural(small(tmp_path / "other", plan=path, num_steps=5))
    write_json(path, to_json(plan_every_strategy(problem, Budget(1.6), student_steps=2)))
    with pytest.raises(ValueError, match=r"students of K = 2, .* plan again with plan_merges"):
        distill_neural(small(tmp_path / "few", plan=path))
    write_json(path, to_json(plan_every_strategy(problem, Budget(1.6, "total"))))
    found = distill_neural(small(tmp_path / "total", plan=path, student_steps=(1, 2)))
    assert {row.budget for row in found.rows if row.student_steps == 2} == set(COMPUTE_BUDGETS)
    write_json(path, to_json(plan_every_strategy(problem, Budget(1.6, "best_split"))))
    with pytest.raises(ValueError, match=r"best_split, .* train equally long; .* --budget total"):
        distill_neural(small(tmp_path / "split", plan=path))


def test_the_report_leaves_its_files(tmp_path, capsys):
    report_neural(tmp_path, distill_neural(small(tmp_path)))
    columns = list(NeuralRow.__dataclass_fields__)
    assert len(list(read_table(tmp_path / "results.csv", columns))) == 5 * 2 * 3 * 2
    for name in ("errors", "student_steps", "outputs"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 0
    assert "the constant guess" in capsys.readouterr().out


def save_small_estimator(folder: Path, vae: Path, dim: int) -> Path:
    data = Eigenbasis(np.zeros(dim), np.ones(dim), np.eye(dim))
    facts = {"latent_dim": dim, "vae_sha256": sha256(vae / VAE_FILE), "data_fingerprint": "none"}
    path = folder / ESTIMATOR_FILE
    save_estimator(path, NoiseEstimator(data, 8, 1), Trained(width=8, depth=1, updates=0, **facts))
    return path


@pytest.fixture
def latents_run(model_run):
    """A VAE, its latents with some of them held out, and an estimator."""
    from vae.latents import LATENTS_FILE, load_latents, save_latents

    vae, latents = model_run
    found = load_latents(latents / LATENTS_FILE)
    splits = found.splits.clone()
    splits[::5] = 1
    save_latents(latents / LATENTS_FILE, replace(found, splits=splits))
    return vae, latents, save_small_estimator(vae.parent, vae, LATENT_DIM)


def test_latents_end_in_faces(tmp_path, latents_run):
    vae, latents, estimator = latents_run
    files = {"vae": vae, "latents": latents, "estimator": estimator}
    config = small(tmp_path / "run", distribution="latents", student_steps=(1,), columns=2, **files)
    found = distill_neural(config)
    report_neural(config.out, found)
    faces = sorted(path.name for path in (config.out / "figures").glob("faces_*"))
    assert len(faces) == 3 * 2
    assert all(row.error > 0 for row in found.rows)


def test_a_teacher_of_another_width_is_refused_in_a_line(tmp_path, latents_run):
    vae, latents, _ = latents_run
    other = save_small_estimator(tmp_path / "other", vae, 4)
    files = {"vae": vae, "latents": latents, "estimator": other}
    with pytest.raises(ValueError, match="have 128 coordinates, the teacher takes 4; give"):
        distill_neural(small(tmp_path / "run", distribution="latents", **files))
    assert not (tmp_path / "run").exists()


def test_a_damaged_cell_is_refused_by_name(tmp_path):
    distill_neural(small(tmp_path))
    path = min((tmp_path / "cells").iterdir())
    shutil.copy(tmp_path / "teachers.safetensors", path)
    with pytest.raises(ValueError, match=path.name):
        distill_neural(small(tmp_path))


@pytest.fixture
def own_latents(tmp_path):
    """Latents of an unknown encoder, and an estimator that names their file."""
    path = tmp_path / "mine.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 2, 3)).astype(np.float16))
    data = Eigenbasis(np.zeros(6), np.ones(6), np.eye(6))
    trained = Trained(8, 1, 0, 6, UNKNOWN_VAE, sha256(path))
    estimator = tmp_path / ESTIMATOR_FILE
    save_estimator(estimator, NoiseEstimator(data, 8, 1), trained)
    return {"distribution": "latents", "latents": path, "estimator": estimator}


def test_latents_of_any_encoder_are_distilled_without_faces(tmp_path, own_latents, capsys):
    config = small(tmp_path / "run", student_steps=(1,), **own_latents)
    found = distill_neural(config)
    report_neural(config.out, found)
    assert all(row.error > 0 for row in found.rows)
    assert not list((config.out / "figures").glob("faces_*"))
    assert "without faces as no VAE was given" in (config.out / "summary.md").read_text()


def test_own_latents_need_a_teacher_of_their_own(tmp_path, own_latents):
    with pytest.raises(ValueError, match="needs --estimator, a teacher of these latents"):
        distill_neural(small(tmp_path / "run", **own_latents | {"estimator": None}))
    np.save(own_latents["latents"], np.random.default_rng(1).normal(size=(60, 2, 3)))
    with pytest.raises(ValueError, match=r"not trained on .*mine\.npy; train a teacher"):
        distill_neural(small(tmp_path / "run", **own_latents))
    assert not (tmp_path / "run").exists()


def assert_programs_are_the_students(found):
    """Every program gives, on the noise of the run, what was shown of the first student."""
    config, noise = found.setting.config, found.setting.reference.noise
    for strategy in ("vanilla", "sequential_boot"):
        shown = found.shown[strategy, (2, "per_merge", 3)]
        program = torch.export.load(program_path(config.out, f"{strategy}_K2_3")).module()
        torch.testing.assert_close(program(noise[: len(shown)]), shown, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(program(noise[:1]), shown[:1], rtol=1e-4, atol=1e-5)


SHORT = {
    "num_steps": 8,  # 4 per step of the student, for which strategies differ
    "student_steps": (2,),
    "budgets": ("per_merge",),
    "steps_per_merge": (3,),
    "export": True,
}


@pytest.mark.parametrize(
    "flags",
    [{}, {"student": "shared"}, {"parametrisation": "operator"}, {"prediction": "v"}],
    ids=str,
)
def test_an_exported_program_is_the_first_student(tmp_path, flags):
    found = distill_neural(small(tmp_path, **SHORT, **flags))
    assert_programs_are_the_students(found)


@pytest.mark.parametrize("parametrisation", ["denoiser", "operator"])
def test_an_exported_program_is_the_first_student_on_latents(
    tmp_path, own_latents, parametrisation
):
    flags = SHORT | own_latents | {"parametrisation": parametrisation}
    found = distill_neural(small(tmp_path / "run", **flags))
    assert_programs_are_the_students(found)


def test_finished_students_without_a_program_are_trained_again_to_the_same(tmp_path):
    before = distill_neural(small(tmp_path, **SHORT | {"export": False}))
    assert not program_path(tmp_path, "any").parent.exists()
    after = distill_neural(small(tmp_path, **SHORT))
    assert results(after.rows) == results(before.rows)
    assert_programs_are_the_students(after)
