"""The same jobs in this process, in several local ones and on a real Dask cluster."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

import distill.comparison
from diffusion.schedule import cosine_schedule
from distill.compare_strategies import compare_strategies
from distill.comparison import save_students
from distill.config import CompareConfig
from distill.executors import default_workers, do_jobs, open_executor
from distill.jobs import Job, Training, steps_per_merge
from planner.budget import Stage
from planner.strategies import CANONICAL
from tests.conftest import small_comparison


@pytest.fixture
def config(model_run, tmp_path) -> CompareConfig:
    return small_comparison(
        tmp_path / "here", model_run, steps_per_merge=(3, 20), engine="sgd", workers=1
    )


@pytest.fixture
def training() -> Training:
    return Training(
        schedule=cosine_schedule(4),
        variances=(0.3, 1.2),
        latents=None,
        batch_size=50,
        lr=1e-3,
        engine="sgd",
        device="cpu",
    )


def jobs(num_steps=4, steps=5) -> list[Job]:
    found = []
    for name, make in CANONICAL.items():
        plans = (make(num_steps),) * 2
        found.append(Job(name, plans, steps_per_merge(plans, Stage("per_merge", steps)), seed=0))
    return found


def assert_equal_students(ours, theirs):
    assert list(ours.students) == list(theirs.students)
    for case, students in ours.students.items():
        np.testing.assert_array_equal(students.operator, theirs.students[case].operator)


def test_local_processes_give_the_numbers_of_one(config):
    here = compare_strategies(config)
    spread = compare_strategies(replace(config, out=config.out.with_name("spread"), workers=2))
    assert_equal_students(spread, here)


def test_a_cluster_that_loses_a_worker_midway_gives_the_numbers_of_one_process(
    config, tmp_path, monkeypatch
):
    import distributed

    here = compare_strategies(config)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster:
        with distributed.Client(cluster) as client:
            victim = next(iter(client.run(os.getpid).values()))
        saved = []

        def save_and_kill(path, students):
            save_students(path, students)
            saved.append(path)
            if len(saved) == 1:
                os.kill(victim, signal.SIGKILL)

        monkeypatch.setattr(distill.comparison, "save_students", save_and_kill)
        out = tmp_path / "cluster"
        address = cluster.scheduler_address
        spread = compare_strategies(replace(config, out=out, workers=None, scheduler=address))
    assert len(saved) > 10  # all but the first after the kill
    assert_equal_students(spread, here)


def test_a_scheduler_that_does_not_answer_is_one_clear_error(config, monkeypatch):
    monkeypatch.setattr("distill.executors.CONNECT_SECONDS", 0.5)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        compare_strategies(replace(config, workers=None, scheduler="tcp://127.0.0.1:9"))


def test_errors_of_jobs_keep_their_kind_and_a_lost_process_is_told_with_the_way_on(training):
    unstable = replace(training, lr=0.5)  # ten times the rate above which gradient steps grow
    with open_executor(None, 2, "cpu") as executor:
        with pytest.raises(FloatingPointError, match="lower --lr"):
            list(do_jobs(unstable, jobs(steps=2_000), executor, lambda: None))
        executor.submit(kill_oneself).exception()
        with pytest.raises(ChildProcessError, match="the same command again trains the rest"):
            list(do_jobs(training, jobs(), executor, lambda: None))


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_students_in_closed_form_are_not_worth_a_process(training):
    assert default_workers(replace(training, engine="closed_form")) == 1
    assert default_workers(training) >= 1
