"""What a comparison trains, and both engines on the same batches."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from distill.jobs import Case, Job, Training, do_job, inputs_of, list_jobs, steps_per_merge
from distill.law import decay_rates, sgd_shrinkage, train_time
from experiment.write import sha256
from planner.budget import Stage
from planner.few_step import shifted
from planner.parametrisation import Parametrisation
from planner.plan import from_outline, merge, merges, outline, step
from planner.problem import make_problem
from planner.strategies import CANONICAL, progressive, sequential_boot, vanilla
from vae.latents import load_latents

LR = 1e-3


@pytest.mark.parametrize("name", CANONICAL)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 2_000])
def test_plans_of_any_depth_survive_pickling(name, num_steps):
    plan = CANONICAL[name](num_steps)
    copy = pickle.loads(pickle.dumps(plan))
    assert outline(copy) == outline(plan)
    assert [(j.start, j.stop) for j in merges(copy)] == [(j.start, j.stop) for j in merges(plan)]


def test_unlike_plans_have_unlike_outlines():
    left = merge(merge(step(3), step(2)), step(1))
    right = merge(step(3), merge(step(2), step(1)))
    assert outline(left) != outline(right) != outline(vanilla(3))
    assert from_outline(3, outline(right)) == right


def test_equal_totals_are_shared_among_merges():
    plans = [vanilla(9), progressive(9), merge(step(9), merge(step(8), vanilla(7)))]
    assert steps_per_merge(plans, Stage("per_merge", 10)).tolist() == [10, 10, 10]
    # 80 in total: 1 merge, 8 merges, 3 merges of which each gets the whole part of 80 / 3.
    assert steps_per_merge(plans, Stage("total", 10)).tolist() == [80, 10, 26]


def test_the_steps_of_a_student_share_the_total_of_a_coordinate():
    plans = [
        shifted(vanilla(5), 4),
        shifted(sequential_boot(5), 4),
        vanilla(4),
        vanilla(4),
    ]  # K = 2, d = 2
    assert steps_per_merge(plans, Stage("per_merge", 10, 2)).tolist() == [10, 10]
    assert steps_per_merge(plans, Stage("total", 10, 2)).tolist() == [40, 16]  # 80 / 2 and 80 / 5


def test_one_step_leaves_nothing_to_merge():
    assert steps_per_merge([step(1)], Stage("total", 10)).tolist() == [10]


def test_cases_of_equal_work_share_a_job_and_others_do_not():
    plans = {
        Stage("per_merge", 10): {"a": (sequential_boot(5),) * 2, "b": (sequential_boot(5),) * 2},
        Stage("total", 10): {"a": (sequential_boot(5),) * 2, "c": (vanilla(5), sequential_boot(5))},
        Stage("per_merge", 40): {
            "a": (vanilla(5), vanilla(5)),
            "c": (vanilla(5), sequential_boot(5)),
        },
    }
    jobs = list_jobs(plans, seeds=[0, 1])
    assert len(jobs) == 12
    assert len(set(jobs.values())) == 8
    shared = jobs[Case("a", Stage("per_merge", 10), 0)]
    assert (
        jobs[Case("b", Stage("per_merge", 10), 0)]
        is shared
        is jobs[Case("a", Stage("total", 10), 0)]
    )
    assert jobs[Case("a", Stage("per_merge", 10), 1)] is not shared
    assert shared.name == "per_merge_00010_a_seed0"
    mixed = jobs[Case("c", Stage("total", 10), 0)]
    np.testing.assert_array_equal(mixed.steps_per_merge, [40, 10])
    assert (mixed.num_merges, mixed.gradient_steps) == (4, 40)


@pytest.fixture
def training(model_run) -> Training:
    file = model_run[1] / "latents.safetensors"
    return Training(
        schedule=cosine_schedule(6),
        variances=tuple(load_latents(file).variances.tolist()),
        latents=(file, sha256(file)),
        batch_size=200,
        lr=LR,
        engine="closed_form",
        device="cpu",
    )


def job(plans, budget="per_merge", steps=30) -> Job:
    return Job("test", tuple(plans), steps_per_merge(plans, Stage(budget, steps)), seed=3)


@pytest.mark.parametrize("inputs", ["gaussian", "latents"])
@pytest.mark.parametrize("name", CANONICAL)
def test_the_engines_agree_on_every_coordinate(training, name, inputs):
    """To the rounding of float32, a thousandth of the spread between batches."""
    if inputs == "gaussian":
        training = replace(training, latents=None)
    asked = job([CANONICAL[name](6)] * 128)
    computed = do_job(training, asked)
    trained = do_job(replace(training, engine="sgd"), asked)
    np.testing.assert_allclose(trained.operator, computed.operator, rtol=0, atol=2e-5)
    assert np.abs(computed.operator - computed.predicted).max() > 1e-3
    assert (trained.engine, computed.engine) == ("sgd", "closed_form")


def test_the_engines_agree_where_coordinates_take_unlike_numbers_of_steps(training):
    plans = [vanilla(6) if i % 2 else sequential_boot(6) for i in range(128)]
    asked = job(plans, "total", steps=7)
    assert set(asked.steps_per_merge.tolist()) == {7, 35}
    taken = []
    computed = do_job(training, asked)
    trained = do_job(replace(training, engine="sgd"), asked, lambda: taken.append(1))
    np.testing.assert_allclose(trained.operator, computed.operator, rtol=0, atol=2e-5)
    assert len(taken) == asked.sequential_steps == 5 * 7 + 35


@pytest.mark.parametrize("kind", ["operator", "denoiser"])
def test_the_engines_agree_on_students_of_several_steps(training, kind):
    training = replace(training, parametrisation=Parametrisation(kind))
    noisy = [shifted(vanilla(4) if i % 2 else sequential_boot(4), 2) for i in range(128)]
    plans = (*noisy, *[vanilla(2)] * 128)
    stage = Stage("total", 40, 2)
    asked = Job("test", plans, steps_per_merge(plans, stage), seed=3)
    assert (asked.num_merges, asked.gradient_steps) == (4, 200)
    computed = do_job(training, asked)
    trained = do_job(replace(training, engine="sgd"), asked)
    np.testing.assert_allclose(trained.operator, computed.operator, rtol=0, atol=2e-5)
    composite = training.problem().composite
    assert np.abs(computed.operator - composite).max() > 1e-3  # training stops early


def test_another_seed_has_other_batches(training):
    first, second = (inputs_of(training, seed).draw(2) for seed in (0, 1))
    assert not np.allclose(first, second)


def test_a_worker_refuses_other_latents_than_those_it_was_told(training):
    path, _ = training.latents
    with pytest.raises(ValueError, match="not the latents that the comparison was started with"):
        do_job(replace(training, latents=(path, "0" * 64)), job([vanilla(6)] * 128))


@pytest.mark.parametrize("steps", [1, 10, 1_000])
def test_the_planner_shrinks_as_gradient_descent_does(steps):
    """Also where a bracket is negative, 1 / (32 lr) < n < 2 / (32 lr), by its size."""
    problem = make_problem(cosine_schedule(8), np.array([0.05, 1.0, 3.0, 20.0]))
    rates = decay_rates(problem.second_moments, LR)
    planned = problem.with_training(train_time(LR, steps), rates)
    expected = np.abs(sgd_shrinkage(problem.second_moments, LR, steps))
    np.testing.assert_allclose(planned.shrinkage, expected, rtol=1e-9, atol=1e-300)


def test_small_steps_decay_as_gradient_flow():
    moments = np.array([[0.3, 1.0], [0.7, 5.0]])
    np.testing.assert_allclose(decay_rates(moments, 1e-9), moments, rtol=1e-6)
