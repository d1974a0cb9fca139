"""The synthetic experiments: resuming, refusals and the contents of their rows."""

import csv
import json
import sys

import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from distill import synthetic
from distill.config import ConvergenceConfig, PlanConfig, SimulateConfig
from distill.law import sgd_shrinkage
from distill.plan_merges import plan_merges
from distill.simulate_students import simulate_students
from distill.study_convergence import merge_steps, study_convergence
from planner.plan import merges
from planner.plan_file import read_plans_for
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator
from scripts import simulate_students as simulate_command
from scripts.cli import main

COLUMNS = ["num_steps", "variance", "strategy", "engine", "mean", "std", "trials", "predicted"]


def small(out, **changes) -> SimulateConfig:
    values = {
        "num_steps": (4, 3),
        "variances": (2.0, 0.5),
        "trials": 3,
        "engine": "simulated",
        "steps_per_merge": 20,
        "batch_size": 50,
    }
    return SimulateConfig(out=out, **values | changes)


def command(monkeypatch, *arguments: object):
    monkeypatch.setattr(sys, "argv", ["simulate_students.py", *map(str, arguments)])
    main(SimulateConfig, simulate_command.run, "A job.")


def fails(monkeypatch, capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, *arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("batches", ["fixed", "fresh"])
def test_both_engines_give_the_cells_asked_for_near_their_prediction(tmp_path, batches):
    """Fresh batches have the closed form as their mean, fixed ones of 2,560 nearly so."""
    changes = {"trials": 20, "batch_size": 2560, "batches": batches}
    for engine in ("sgd", "simulated"):
        rows = simulate_students(small(tmp_path / engine, engine=engine, **changes))
        asked = [(t, v, s) for t in (4, 3) for v in (2.0, 0.5) for s in CANONICAL]
        assert [(row.num_steps, row.variance, row.strategy) for row in rows] == asked
        for row in rows:
            assert abs(row.mean - row.predicted) < 5 * row.standard_error


def test_a_published_cell_is_reproduced_by_training(tmp_path):
    """[OM] Table 2, T = 32: 7.3e-04 ± 1.3e-04 and, progressive, 3.3e-02 ± 5.2e-04."""
    strategies = ("vanilla", "progressive")
    config = SimulateConfig(out=tmp_path, num_steps=(32,), variances=(0.2,), strategies=strategies)
    vanilla, progressive = simulate_students(config)
    assert abs(vanilla.mean - 7.3e-4) < 3 * 1.3e-4
    assert abs(progressive.mean - 3.3e-2) < 3 * 5.2e-4
    # Ten trials tell a standard deviation to 24 %, on either side of the comparison.
    assert 0.5 < vanilla.std / 1.3e-4 < 2
    assert 0.5 < progressive.std / 5.2e-4 < 2


def test_an_interrupted_run_goes_on_and_gives_the_numbers_of_a_whole_one(tmp_path, monkeypatch):
    whole = simulate_students(small(tmp_path / "whole"))
    compute, finished = synthetic.run_trials, []

    def interrupted(*arguments):
        if len(finished) == 3:
            raise KeyboardInterrupt
        finished.append(arguments)
        return compute(*arguments)

    monkeypatch.setattr(synthetic, "run_trials", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_students(small(tmp_path / "resumed"))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "resumed/cells").iterdir()}
    assert len(kept) == 3

    monkeypatch.setattr(synthetic, "run_trials", compute)
    assert simulate_students(small(tmp_path / "resumed")) == whole
    assert (
        kept.items()
        <= {
            path: path.stat().st_mtime_ns for path in (tmp_path / "resumed/cells").iterdir()
        }.items()
    )


def test_finished_cells_are_computed_again_only_if_asked(tmp_path, monkeypatch):
    rows = simulate_students(small(tmp_path))
    computed = []

    def count(*arguments):
        computed.append(arguments)
        return compute(*arguments)

    compute = synthetic.run_trials
    monkeypatch.setattr(synthetic, "run_trials", count)
    assert simulate_students(small(tmp_path)) == rows
    assert not computed
    assert simulate_students(small(tmp_path, recompute=True)) == rows
    assert len(computed) == 2 * len(CANONICAL)


def test_a_trained_cell_depends_only_on_its_own_seed_and_steps(tmp_path):
    changes = {"engine": "sgd", "batches": "fresh"}
    both = simulate_students(small(tmp_path / "both", **changes))
    one = simulate_students(small(tmp_path / "one", num_steps=(3,), **changes))
    assert [row for row in both if row.num_steps == 3] == one
    other = simulate_students(small(tmp_path / "other", num_steps=(3,), seed=1, **changes))
    assert all(a.mean != b.mean for a, b in zip(one, other, strict=True))


def test_per_dimension_plans_are_never_predicted_further_off(tmp_path):
    names = (*CANONICAL, "per_dimension")
    rows = simulate_students(
        small(tmp_path, num_steps=(9,), variances=(0.3, 1.5, 3.0), strategies=names)
    )
    for variance in (0.3, 1.5, 3.0):
        off = {row.strategy: abs(row.predicted) for row in rows if row.variance == variance}
        assert off["per_dimension"] <= min(off.values()) + 1e-15


def test_the_former_name_of_per_dimension_is_refused_with_the_present_ones(monkeypatch, capsys):
    line = fails(monkeypatch, capsys, "--out", "a", "--strategies", "optimal")
    assert "'optimal'" in line
    assert "per_dimension" in line


def test_former_flags_resume_a_run_and_give_the_same_table(tmp_path, monkeypatch):
    shape = ["--num-steps", 4, "--variances", 0.5, "--trials", 2, "--out", tmp_path / "run"]
    command(monkeypatch, *shape, "--engine", "simulated", "--steps-per-merge", 7)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (recorded["engine"], recorded["epochs"]) == ("exact", 7)
    table = (tmp_path / "run" / "results.csv").read_text()
    assert ",exact," in table
    command(monkeypatch, *shape, "--engine", "exact", "--epochs", 7)
    assert (tmp_path / "run" / "results.csv").read_text() == table


def test_plans_of_a_file_are_trained_in_place_of_the_strategies(tmp_path):
    problem = make_problem(cosine_schedule(6), np.array([2.0, 0.5]))
    plan_merges(PlanConfig(out=tmp_path / "plans", variances=(2.0, 0.5), num_steps=6), print)
    path = tmp_path / "plans" / "plans.json"
    config = small(tmp_path / "run", num_steps=(6,), plan=path, batch_size=10**12)
    found = read_plans_for(path, problem).plans
    rows = simulate_students(config)
    assert {row.strategy for row in rows} == set(found) >= {"greedy", *CANONICAL}
    shrinkage = sgd_shrinkage(problem.second_moments, 1e-3, 20)
    for name, plans in found.items():
        operator = per_dimension_operator(plans, problem.operators, shrinkage)
        predicted = [row.predicted for row in rows if row.strategy == name]
        np.testing.assert_allclose(predicted, operator - problem.surrogate)
    for row in rows:
        assert row.mean == pytest.approx(row.predicted, abs=1e-4)
    with pytest.raises(ValueError, match="for 6 steps and 2 coordinates"):
        simulate_students(small(tmp_path / "other", num_steps=(5,), plan=path))


def test_the_command_writes_table_figure_and_comparison(tmp_path, monkeypatch, capsys):
    published = tmp_path / "published.csv"
    published.write_text("T,lambda,strategy,mean,std\n4,0.50,boot,1e-1,1e-3\n")
    out = tmp_path / "run"
    command(
        monkeypatch, "--num-steps", 4, "--variances", 0.5, 2.0, "--trials", 5,
        "--engine", "simulated", "--compare", published, "--out", out,
    )  # fmt: skip
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 2 * len(CANONICAL)
    text = capsys.readouterr().out
    assert text.count("**") == 4  # the best of each of two lines
    best = min(
        (row for row in rows if row["variance"] == "0.5"), key=lambda r: abs(float(r["mean"]))
    )
    assert f"**{float(best['mean']):.2e} ± {float(best['std']):.1e}**" in text
    boot = next(r for r in rows if (r["strategy"], r["variance"]) == ("sequential_boot", "0.5"))
    assert f"| {(float(boot['mean']) - 0.1) / 1e-3:+.2f} |" in text
    assert (out / "figures" / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "comparison.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variances", 0.5, 40], "with variance 40; below 0.0"),
        (["--variances", 0.5, -1], "variance of coordinate 1 is -1.0"),
        (["--variances", "nan"], "variance of coordinate 0 is nan"),
        (["--variances", 0.5, 0.5], "--variances must be one or more different values"),
        (["--num-steps", 0], "--num-steps must be at least 1, got 0"),
        (["--trials", 1], "--trials must be at least 2"),
        (["--lr", 0.05], "--lr 0.05 is unstable for coordinate 1 with variance 2; below 0.0156"),
        (["--lr", "nan"], "--lr must be positive, got nan"),
        (["--steps-per-merge", 0], "--steps-per-merge must be at least 1, got 0"),
        (["--strategies", "bot"], "bot"),
        (["--compare", "/no/such.csv"], "/no/such.csv: no such file; --compare takes CSV"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(monkeypatch, capsys, tmp_path, arguments, message):
    common = ["--out", tmp_path / "run", "--num-steps", 32, "--engine", "simulated"]
    if "--variances" not in arguments:
        common += ["--variances", 0.5, 2.0]
    assert message in fails(monkeypatch, capsys, *common, *arguments)
    assert not list(tmp_path.iterdir())


def test_the_largest_lr_named_is_where_training_turns_unstable(tmp_path):
    """Just below it errors shrink, just above they would grow: |1 - 2 lr |emb|**2 n| = 1."""
    with pytest.raises(ValueError, match="below") as refusal:
        simulate_students(small(tmp_path, lr=0.05))
    largest = float(str(refusal.value).split("below ")[1].split()[0])
    simulate_students(small(tmp_path, lr=largest * 0.999))
    with pytest.raises(ValueError, match="unstable"):
        simulate_students(small(tmp_path / "above", lr=largest * 1.001))


def test_another_runs_folder_is_left_alone(tmp_path):
    simulate_students(small(tmp_path))
    with pytest.raises(ValueError, match=r"config\.trials is 3 there, 4 here"):
        simulate_students(small(tmp_path, trials=4))


def study(out, **changes) -> ConvergenceConfig:
    values = {"num_steps": 5, "variances": (0.5, 1.0), "trials": 4, "steps_per_merge": (1, 10, 100)}
    return ConvergenceConfig(out=out, **values | changes)


def test_equal_totals_are_spent_whole_by_every_strategy(tmp_path):
    rows = study_convergence(study(tmp_path))
    assert {row.budget for row in rows} == {"per_merge", "total"}
    for row in rows:
        num_merges = len(list(merges(CANONICAL[row.strategy](5))))
        per_merge = row.gradient_steps / (1 if row.budget == "per_merge" else num_merges)
        assert row.steps_per_merge == per_merge
    assert merge_steps("total", "vanilla", 40, 5) == 40


def test_errors_vanish_with_training_and_a_total_suits_vanilla_best(tmp_path):
    rows = study_convergence(study(tmp_path))
    found = {(r.budget, r.strategy, r.variance, r.gradient_steps): abs(r.predicted) for r in rows}
    for strategy in CANONICAL:
        for variance in (0.5, 1.0):
            falling = [found["per_merge", strategy, variance, n] for n in (1, 10, 100)]
            assert falling[0] > falling[1] > falling[2]
            assert falling[2] < 0.1 * falling[0]
            assert found["total", "vanilla", variance, 40] <= found["total", strategy, variance, 40]


def test_the_study_trains_what_it_predicts(tmp_path):
    for row in study_convergence(study(tmp_path, engine="sgd", steps_per_merge=(1, 10), trials=20)):
        assert abs(row.mean - row.predicted) < 5 * row.std / row.trials**0.5
