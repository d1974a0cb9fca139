"""Runs side by side: every number stands under its own run, and what differs is named."""

import csv
import json
import shutil
from statistics import fmean

import pytest

from distill.config import PlanConfig
from experiment.folder import CONFIG, open_run
from experiment.write import write_json
from report.compare_runs import compare_runs, differences
from report.config import CompareRunsConfig
from scripts.plan_merges import run as plan_merges


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Two runs of plan_merges that differ in the training time, and one with three variances."""
    folder = tmp_path_factory.mktemp("runs")
    for name, time, variances in (
        ("short", 0.5, (0.5, 1.2)),
        ("long", 2.0, (0.5, 1.2)),
        ("wide", 2.0, (0.5, 1.2, 0.3)),
    ):
        plan_merges(
            PlanConfig(out=folder / name, variances=variances, num_steps=4, train_time=time)
        )
    return folder


def compare(folder, out, *names):
    compare_runs(CompareRunsConfig(runs=tuple(folder / name for name in names), out=out))
    return (out / "summary.md").read_text(encoding="utf-8")


def table_below(text: str, words: str) -> dict[str, list[str]]:
    """The lines of the first Markdown table below some words: first cell -> the others."""
    lines = text[text.index(words) :].split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_the_table_has_the_numbers_of_each_run_in_its_column(planned, tmp_path):
    text = compare(planned, tmp_path / "out", "short", "long")
    table = table_below(text, "W2²:")
    assert table[""] == ["steps of the student", "short", "long"]
    for column, name in enumerate(("short", "long"), start=1):
        with (planned / name / "results.csv").open() as file:
            found = {row["strategy"]: float(row["w2_squared"]) for row in csv.DictReader(file)}
        assert table["vanilla"][column] == f"{found['vanilla']:.4g}"
        assert table["sequential BOOT"][column] == f"{found['sequential_boot']:.4g}"
    assert "| train_time | 0.5 | 2.0 |" in text


def test_the_joint_csv_has_every_row_of_every_run(planned, tmp_path):
    compare(planned, tmp_path / "out", "long", "wide", "short")
    with (tmp_path / "out" / "results.csv").open() as file:
        joint = list(csv.DictReader(file))
    for name in ("short", "long", "wide"):
        with (planned / name / "results.csv").open() as file:
            own = list(csv.DictReader(file))
        assert [row for row in joint if row["run"] == name] == [{"run": name} | row for row in own]


def test_seeds_are_averaged_and_a_column_that_a_table_lacks_has_its_default(tmp_path):
    values = (1e-3, 3e-3)
    for name, columns in (("old", ""), ("new", ",student_steps")):
        out = tmp_path / name
        open_run(out, "compare_strategies", PlanConfig(out=out, variances=(1.0,)), {}, "cpu")
        last = ",1" if columns else ""
        rows = [f"vanilla,total,10,{seed},{w2}{last}" for seed, w2 in enumerate(values)]
        head = f"strategy,budget,epochs,seed,w2_squared{columns}"
        (out / "results.csv").write_text("\n".join([head, *rows]) + "\n")
    table = table_below(compare(tmp_path, tmp_path / "out", "old", "new"), "W2²:")
    mean = f"{fmean(values):.4g}"
    assert table["vanilla, equal in total, K = 1"] == ["10", mean, mean]


def test_trainings_are_compared_at_their_last_rows(tmp_path):
    for name, count in (("a", 1), ("b", 3)):
        out = tmp_path / name
        open_run(out, "train_noise_estimator", PlanConfig(out=out, variances=(1.0,)), {}, "cpu")
        rows = [
            {"update": 10 * i, "train_loss": 1 / i, "held_out_loss": 2 / i}
            for i in range(1, count + 1)
        ]
        (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = table_below(compare(tmp_path, tmp_path / "out", "a", "b"), "At the last")
    assert table["training loss"] == ["1", "0.3333"]
    assert table["held-out loss"] == ["2", "0.6667"]


def record(**changes) -> dict:
    made = {"git_commit": "a" * 40, "versions": {"torch": "2.5"}, "hardware": {"name": "x"}}
    return {"config": {"lr": 1e-3, "steps": [1, 2]}, "inputs": {}, "facts": {}} | {
        "provenance": made | changes.pop("provenance", {}),
        **changes,
    }


def test_equal_runs_differ_in_nothing():
    assert differences([record(), record()]) == {}


def test_every_kind_of_difference_is_named():
    other = record(
        config={"lr": 1e-2, "steps": [1, 2], "loss": "z"},
        inputs={"vae": "b" * 64},
        provenance={"git_commit": "a" * 40 + "-dirty", "versions": {"torch": "2.6"}},
    )
    assert differences([record(), other]) == {
        "lr": ["0.001", "0.01"],
        "loss": ["not recorded", "z"],
        "input vae": ["not recorded", "b" * 12],
        "version of torch": ["2.5", "2.6"],
        "commit": ["a" * 12, "a" * 12 + ", with changes"],
    }


def test_runs_of_one_name_are_told_apart(planned, tmp_path):
    shutil.copytree(planned / "long", tmp_path / "long")
    runs = (planned / "long", tmp_path / "long")
    compare_runs(CompareRunsConfig(runs=runs, out=tmp_path / "out"))
    text = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "have the same flags" in text
    assert table_below(text, "W2²:")[""][1:] == [str(run) for run in runs]


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (("plan_merges", "distill_neural"), r"is of plan_merges, .* of distill_neural; give runs"),
        (("plot_theory", "plot_theory"), "is of plot_theory; give runs of compare_strategies"),
    ],
)
def test_runs_of_different_or_unknown_commands_are_refused(planned, tmp_path, jobs, message):
    for name, job in zip("ab", jobs, strict=True):
        shutil.copytree(planned / "long", tmp_path / name)
        made = json.loads((tmp_path / name / CONFIG).read_text()) | {"job": job}
        write_json(tmp_path / name / CONFIG, made)
    config = CompareRunsConfig(runs=(tmp_path / "a", tmp_path / "b"), out=tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        compare_runs(config)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"strategy,w2_squared,student_steps\nvanilla,0.5,1", "last line is cut off"),
        (b"strategy,w2_squared,student_steps\n", "holds no row"),
        (b"strategy,student_steps\nvanilla,1\n", "lacks the column w2_squared"),
        (b"strategy,w2_squared,student_steps\nvanilla,half,1\n", "could not convert"),
    ],
)
def test_a_table_that_is_none_is_told(planned, tmp_path, content, message):
    shutil.copytree(planned / "long", tmp_path / "long")
    (tmp_path / "long" / "results.csv").write_bytes(content)
    runs = (planned / "short", tmp_path / "long")
    with pytest.raises(ValueError, match=message):
        compare_runs(CompareRunsConfig(runs=runs, out=tmp_path / "out"))


@pytest.mark.parametrize("names", [(), ("one",), ("one", "one")])
def test_fewer_than_two_runs_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="--runs must"):
        CompareRunsConfig(runs=tuple(tmp_path / name for name in names), out=tmp_path / "out")
