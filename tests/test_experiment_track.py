"""What --track shows is what the run folder records, and without its package it is refused."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest

from distill.compare_strategies import compare_strategies, train_jobs
from distill.comparison import Store
from distill.config import CompareConfig, ConvergenceConfig, SimulateConfig
from distill.jobs import Job, Students, Training, list_jobs
from distill.results import tabulate
from distill.simulate_students import simulate_students
from distill.study_convergence import study_convergence
from experiment.read import read_json_lines
from experiment.track import open_tracker
from neural.config import NeuralConfig
from neural.distill_neural import distill_neural
from sampling.config import TrainConfig
from sampling.train_noise_estimator import train_noise_estimator
from tests.conftest import small_comparison
from vae.config import PretrainConfig
from vae.latents import LATENTS_FILE, load_latents, save_latents


@pytest.mark.parametrize("track", ["tensorboard", "wandb"])
@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (PretrainConfig, {"data": None}),
        (TrainConfig, {"latents": None}),
        (NeuralConfig, {}),
        (CompareConfig, {}),
        (SimulateConfig, {}),
        (ConvergenceConfig, {}),
    ],
)
def test_a_package_that_is_not_installed_is_told_before_anything_is_done(
    tmp_path, track, config, flags
):
    if find_spec(track) is None:
        with pytest.raises(ValueError, match=rf"--track {track}: not installed here; pip install"):
            config(out=tmp_path / "run", track=track, **flags)
    else:
        assert config(out=tmp_path / "run", track=track, **flags).track == track
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path):
    config = NeuralConfig(out=tmp_path)
    with open_tracker("none", tmp_path, config, 0, "updates") as show:
        show({"loss": 1.0}, 1, None)
    assert not list(tmp_path.iterdir())


def train(model_run, out, track):
    """A few gradient steps of a noise estimator; the rows that it records."""
    found = load_latents(model_run[1])
    found.splits[400:] = 1
    save_latents(model_run[1] / LATENTS_FILE, found)
    small = {"gradient_steps": 2, "batch_size": 8, "num_levels": 10, "width": 8, "depth": 1}
    config = TrainConfig(latents=model_run[1], out=out, track=track, device="cpu", **small)
    train_noise_estimator(config)
    return read_json_lines(out / "metrics.jsonl", drop_cut_off=False)


def scalars(folder):
    """Tag -> [(step, value)] of TensorBoard's event files, by its own reader."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_has_the_rows_of_the_record(model_run, tmp_path):
    pytest.importorskip("tensorboard")
    rows = train(model_run, tmp_path / "run", "tensorboard")
    shown = scalars(tmp_path / "run" / "tensorboard")
    for name in ("train_loss", "held_out_loss"):
        expected = [(row["update"], pytest.approx(row[name])) for row in rows]
        assert shown[name] == expected


def test_tensorboard_has_the_errors_of_all_neural_students_also_after_a_second_run(tmp_path):
    pytest.importorskip("tensorboard")
    config = NeuralConfig(
        out=tmp_path / "run",
        num_steps=3,
        steps_per_merge=(2,),
        budgets=("per_merge",),
        teachers=1,
        seeds=1,
        teacher_steps=2,
        batch_size=4,
        noises=16,
        width=4,
        depth=1,
        track="tensorboard",
        device="cpu",
    )
    for _ in range(2):  # the second time all students are read from the run folder
        comparison = distill_neural(config)
        shown = scalars(config.out / "tensorboard")
        for row in comparison.rows:
            if row.strategy == "vanilla":
                assert shown["vanilla_K1/error"] == [(2, pytest.approx(row.error))]


def test_tensorboard_has_the_errors_of_synthetic_students(tmp_path):
    pytest.importorskip("tensorboard")
    small = {"variances": (0.5, 1.5), "trials": 2, "batch_size": 16, "engine": "simulated"}
    small |= {"strategies": ("vanilla", "sequential_boot"), "track": "tensorboard"}
    config = ConvergenceConfig(out=tmp_path / "a", num_steps=4, steps_per_merge=(1, 3), **small)
    shown = {}
    for row in study_convergence(config):
        where = f"{row.strategy}_{row.budget}/error_of_{row.variance:g}"
        shown.setdefault(where, []).append((row.gradient_steps, pytest.approx(row.mean, rel=1e-6)))
    assert scalars(config.out / "tensorboard") == shown
    config = SimulateConfig(out=tmp_path / "b", num_steps=(3, 5), steps_per_merge=2, **small)
    shown = {}
    for row in simulate_students(config):
        where = f"{row.strategy}/error_of_{row.variance:g}"
        shown.setdefault(where, []).append((row.num_steps, pytest.approx(row.mean, rel=1e-6)))
    assert scalars(config.out / "tensorboard") == shown


def test_tensorboard_has_the_errors_of_a_comparison_also_after_a_second_run(model_run, tmp_path):
    pytest.importorskip("tensorboard")
    config = small_comparison(tmp_path / "run", model_run, track="tensorboard")
    for _ in range(2):  # the second time all students are read from the run folder
        rows = tabulate(compare_strategies(config), 1, 0)
        shown = scalars(config.out / "tensorboard")
        for strategy in ("vanilla", "per_dimension"):
            for budget in ("per_merge", "total"):
                assert shown[f"{strategy}_{budget}/w2_squared_seed0"] == [
                    (row.gradient_steps, pytest.approx(row.w2_squared, rel=1e-6))
                    for row in rows
                    if (row.strategy, row.budget) == (strategy, budget)
                ]


def test_every_finished_job_of_a_comparison_is_told_once_and_again_when_it_is_read(
    model_run, tmp_path
):
    """What --track shows, without a package that shows it."""
    config = small_comparison(tmp_path / "run", model_run, budgets=("per_merge",))
    comparison = compare_strategies(replace(config, out=tmp_path / "other"))
    plans = {stage: plan_set.strategies for stage, plan_set in comparison.plans.items()}
    jobs = list(dict.fromkeys(list_jobs(plans, config.seeds).values()))
    problem = comparison.problem
    training = Training(
        problem.schedule, tuple(problem.variances), None, 32, 1e-3, "closed_form", "cpu"
    )
    for _ in range(2):
        told: dict[Job, Students] = {}
        found = train_jobs(Store(config.out), training, jobs, None, None, told.__setitem__)
        assert list(told) == jobs
        assert told == found


def leveldb_records(log: bytes) -> list[bytes]:
    """The records of a short LevelDB log, which stays within one block of 32 KiB."""
    records = []
    while log:
        length, kind = int.from_bytes(log[4:6], "little"), log[6]  # after a checksum
        assert kind == 1  # a whole record
        records.append(log[7 : 7 + length])
        log = log[7 + length :]
    return records


def test_wandb_has_the_rows_of_the_record_and_stays_offline(model_run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    rows = train(model_run, tmp_path / "run", "wandb")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    shown = []
    for data in leveldb_records(file.read_bytes()[7:]):  # after ":W&B", a number and a version
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            shown.append({"".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
    assert len(shown) == len(rows) == 1
    for name in ("update", "train_loss", "held_out_loss"):
        assert [row[name] for row in shown] == pytest.approx([row[name] for row in rows])
