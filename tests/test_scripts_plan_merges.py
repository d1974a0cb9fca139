import contextlib
import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from diffusion.schedule import cosine_schedule
from distill.config import PlanConfig
from planner.parametrisation import Parametrisation
from planner.plan_file import read_plans, read_plans_for, to_json
from planner.problem import make_problem
from planner.strategies import CANONICAL
from scripts.cli import main
from scripts.plan_merges import run
from tests.brute_force import every_algorithm_1_plan
from vae.latents import LATENTS_FILE, Latents, save_latents


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["plan_merges.py", *map(str, arguments)])
    main(PlanConfig, run, "")


def operators_of(num_steps):
    """A problem of operators with two coordinates."""
    return make_problem(cosine_schedule(num_steps), np.ones(2))


def test_plans_are_written_named_and_read_by_the_comparison(monkeypatch, capsys, tmp_path):
    out = tmp_path / "run"
    call(
        monkeypatch, "--variances", 1.02, 1.8, "--num-steps", 16, "--train-time", 1.6, "--out", out
    )
    said = capsys.readouterr().out
    assert "| joint plan (exact) | 3.732101e-03 | yes |" in said
    assert "| joint plan (greedy) | 4.001866e-03 |  |" in said
    assert (out / "config.json").exists()
    found = read_plans_for(out / "plans.json", operators_of(16))
    assert {"greedy", "beam", "pareto", "per_dimension"} < set(found.plans)
    with pytest.raises(ValueError, match=r"for 16 steps and 2 coordinates, .* 8 and 2"):
        read_plans_for(out / "plans.json", operators_of(8))


def test_the_best_split_stands_beside_equal_shares(monkeypatch, capsys, tmp_path):
    flags = ("--variances", 0.3, 0.8, "--num-steps", 6, "--train-time", 1.2, "--budget")
    call(monkeypatch, *flags, "best_split", "--out", tmp_path / "best")
    best = capsys.readouterr().out
    call(monkeypatch, *flags, "total", "--out", tmp_path / "equal")
    equal = capsys.readouterr().out
    assert "| strategy | W2² to the surrogate | with equal shares | proven optimal |" in best
    (boot,) = (line for line in best.splitlines() if "sequential BOOT" in line)
    (same,) = (line for line in equal.splitlines() if "sequential BOOT" in line)
    least, of_equal = (float(cell.strip(" *")) for cell in boot.split("|")[2:4])
    assert of_equal == float(same.split("|")[2].strip(" *"))
    assert least < 0.95 * of_equal
    assert "| vanilla |" in best
    assert read_plans(tmp_path / "best" / "plans.json").budget == "best_split"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--student-steps", 1, 2), "--budget best_split is for --student-steps 1, not 1 2"),
        (
            ("--parametrisation", "denoiser", "--law", "constant_speed"),
            "--budget best_split is for --law gradient_flow",
        ),
    ],
)
def test_what_has_no_known_best_split_is_refused(monkeypatch, capsys, tmp_path, flags, message):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--variances", 0.5, "--budget", "best_split", "--out", tmp_path, *flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_variances_come_from_latents_too(monkeypatch, tmp_path):
    covariance = torch.diag(torch.linspace(0.2, 1.6, 128, dtype=torch.float64))
    latents = Latents(torch.zeros(128, dtype=torch.float64), covariance, 1000, "vae", "data")
    save_latents(tmp_path / "latents" / LATENTS_FILE, latents)
    out = tmp_path / "run"
    call(monkeypatch, "--latents", tmp_path / "latents", "--num-steps", 4, "--out", out)
    np.testing.assert_array_equal(
        read_plans(out / "plans.json").variances, covariance.diagonal().numpy()
    )


def test_a_schedule_comes_from_its_file_and_sets_the_steps(monkeypatch, tmp_path):
    schedule = tmp_path / "schedule.json"
    schedule.write_text(json.dumps({"alpha": [1.0, 0.6, 0.0], "sigma": [0.0, 0.8, 1.0]}))
    out = tmp_path / "run"
    call(monkeypatch, "--variances", 0.5, "--schedule", schedule, "--out", out)
    assert read_plans(out / "plans.json").num_steps == 2


def test_denoisers_are_planned_recorded_and_not_taken_for_operators(monkeypatch, capsys, tmp_path):
    out, flags = tmp_path / "run", ("--variances", 0.05, 0.5, "--num-steps", 8, "--train-time", 0.3)
    call(monkeypatch, *flags, "--parametrisation", "denoiser", "--loss", "z", "--out", out)
    said = capsys.readouterr().out
    assert "denoiser, z loss, training time s = 0.3" in said
    assert "W2² to the composite" in said
    assert read_plans(out / "plans.json").parametrisation == Parametrisation("denoiser", "z")
    assert json.loads((out / "config.json").read_text())["config"]["loss"] == "z"
    with pytest.raises(
        ValueError, match="students of the kind denoiser, z loss, this run trains operator"
    ):
        read_plans_for(out / "plans.json", operators_of(8))


def test_the_defaults_leave_every_record_as_it_was(monkeypatch, tmp_path):
    flags = ("--variances", 0.5, "--num-steps", 4)
    call(monkeypatch, *flags, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert not {"parametrisation", "loss", "prediction", "law", "student_steps"} & config.keys()
    assert "parametrisation" not in json.loads((tmp_path / "run" / "plans.json").read_text())
    with pytest.raises(SystemExit):  # the folder holds operators
        call(monkeypatch, *flags, "--parametrisation", "denoiser", "--out", tmp_path / "run")


def test_students_of_several_steps_have_their_own_files_and_share_the_table(
    monkeypatch, capsys, tmp_path
):
    out = tmp_path / "run"
    flags = ("--variances", 0.9, 1.06, "--num-steps", 8, "--train-time", 1.6)
    call(monkeypatch, *flags, "--student-steps", 8, 1, 2, "--out", out)
    said = capsys.readouterr().out
    assert "students of K = 2 steps, training time s = 1.6 per merge. With equal shares" in said
    assert "| W2² to the surrogate | K = 1 | K = 2 | K = 8 |" in said
    call(monkeypatch, *flags, "--out", tmp_path / "one")
    one = (tmp_path / "one" / "plans.json").read_bytes()
    assert (out / "plans.json").read_bytes() == one
    assert read_plans(out / "plans_K2.json").student_steps == 2
    names = {path.name for path in (out / "figures").iterdir()}
    assert names == {
        *("plan_arcs.png", "plan_arcs_K2.png", "plan_arcs_K8.png"),
        "w2_by_student_steps.png",
    }
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert list(rows[0])[-1] == "student_steps"
    for row in rows:
        suffix = "" if row["student_steps"] == "1" else f"_K{row['student_steps']}"
        found = read_plans(out / f"plans{suffix}.json").strategies[row["strategy"]]
        assert float(row["w2_squared"]) == found.w2_squared


def test_the_summary_says_what_a_free_division_of_the_steps_would_gain(
    monkeypatch, capsys, tmp_path
):
    flags = ("--variances", 0.9, 1.06, "--num-steps", 6, "--train-time", 1.6)
    call(monkeypatch, *flags, "--student-steps", 2, "--out", tmp_path / "run")
    said = capsys.readouterr().out
    assert "K = 1" not in said
    equal = read_plans(tmp_path / "run" / "plans_K2.json").lower_bound
    trained = make_problem(cosine_schedule(6), np.array([0.9, 1.06])).with_training(1.6)
    rivals = [
        np.stack([trained.student_operator(p) * trained.student_operator(q) for q in lower])
        for cut in range(1, 6)
        for lower in [list(every_algorithm_1_plan(1, cut))]
        for p in every_algorithm_1_plan(cut + 1, 6)
    ]
    gaps = np.abs(np.concatenate(rivals) - trained.surrogate).min(axis=0)
    free = float(np.square(gaps).sum())
    assert free < equal
    assert f"have the W2² {equal:.6e} with equal shares, and {free:.6e} with the best free" in said
    for more in (("--budget", "total"), ("--parametrisation", "denoiser")):
        call(monkeypatch, *flags, *more, "--student-steps", 2, "--out", tmp_path / more[1])
        assert "free division" not in capsys.readouterr().out


def test_the_summary_says_how_far_from_optimal_plans_for_a_total_time_can_be(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr("planner.total_bounds.MOST_OPERATIONS", 0)
    flags = ("--variances", 0.5, 1.03, "--num-steps", 66, "--budget", "total", "--solvers")
    call(monkeypatch, *flags, "--out", tmp_path / "run")
    said = capsys.readouterr().out
    found = read_plans(tmp_path / "run" / "plans.json")
    gap = found.strategies["per_dimension"].w2_squared - found.lower_bound
    assert gap > 0
    assert f"not all proven optimal: the best are at most {gap:.1e} better." in said


def test_an_interruption_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path):
    """The beam takes seconds for 120 steps, all other plans far less."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "scripts.plan_merges", "--variances", "0.9", "1.1"]
    command += ["--num-steps", "120", "--out", str(out), "--solvers", "greedy", "beam"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if "greedy" in read_plans(out / "plans.json").strategies:
                break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes the run" in complaint
    kept = read_plans(out / "plans.json")
    assert list(kept.strategies) == [*CANONICAL, "greedy", "per_dimension"]
    # Another choice of solvers finishes the same folder with the plans that are there.
    again = [*command[:-1], "--time-limit", "1e-9"]
    said = subprocess.run(again, capture_output=True, text=True, check=True).stdout
    assert "| joint plan (greedy) |" in said
    assert to_json(read_plans(out / "plans.json")) == to_json(kept)
    assert (out / "summary.md").exists()


def test_a_damaged_file_of_an_earlier_run_is_written_again(monkeypatch, capsys, tmp_path):
    out = tmp_path / "run"
    flags = ("--variances", 0.9, 1.06, "--num-steps", 6, "--out", out)
    call(monkeypatch, *flags)
    whole = (out / "plans.json").read_bytes()
    (out / "plans.json").write_bytes(whole[:500])
    capsys.readouterr()
    call(monkeypatch, *flags)
    assert capsys.readouterr().out.startswith(f"planned again, because {out / 'plans.json'}: ")
    assert (out / "plans.json").read_bytes() == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variances", "1", "--student-steps", "2", "2"], "--student-steps must be one or more"),
        (["--variances", "1", "--student-steps", "0"], "--student-steps must be at least 1, got 0"),
        (["--variances", "1", "--student-steps", "33"], "--student-steps must be at most 32, got"),
        (["--variances", "1", "--time-limit", "0"], "--time-limit must be positive, got 0.0"),
        (["--variances", "1", "--solvers", "best"], "best"),
        (["--variances", "1", "--law", "constant_speed"], "needs the parametrisation denoiser"),
        (["--variances", "1", "--loss", "x_0"], "need the parametrisation denoiser"),
        (
            ["--variances", "1", "--parametrisation", "denoiser", "--prediction", "eps"],
            "at alpha_T = 0, where every plan starts",
        ),
        (["--variances", "-1"], "variance of coordinate 0 is -1.0"),
        (["--variances", "0.5", "nan"], "variance of coordinate 1 is nan"),
        (["--variances", "0.5", "--num-steps", "0"], "--num-steps must be at least 1, got 0"),
        (["--variances", "0.5", "--train-time", "0"], "positive, got 0.0"),
        (["--variances", "0.5", "--train-time", "nan"], "positive, got nan"),
        (["--variances", "0.5", "--schedule", "none.json"], "none.json: no such file"),
        (["--latents", "none"], "none"),
        ([], "either --variances or --latents"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(monkeypatch, capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *arguments, "--out", tmp_path / "run")
    assert stop.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert message in complaint
    assert not (tmp_path / "run").exists()
