"""What a comparison trains, and both engines on the same batches."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule
from distill.jobs import Case, Job, Training, do_job, inputs_of, list_jobs, steps_per_merge
from distill.law import decay_rates, sgd_shrinkage, train_time
from experiment.write import sha256
from planner.budget import Stage, equal_parts
from planner.parametrisation import Parametrisation
from planner.plan import from_outline, merge, merges, outline, step
from planner.plan_set import StrategyPlans
from planner.problem import make_problem
from planner.strategies import CANONICAL, progressive, sequential_boot, shifted, vanilla
from vae.latents import load_latents

LR = 1e-3
STEPS = (step(4), step(3), step(2), step(1))


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
    assert steps_per_merge(plans, Stage("per_merge", 10)) == ((10,), (10,) * 8, (10,) * 3)
    # 80 in total: 1 merge, 8 merges, 3 merges of which the last two take one step more.
    assert steps_per_merge(plans, Stage("total", 10)) == ((80,), (10,) * 8, (26, 27, 27))


def test_the_steps_of_a_student_share_the_total_of_a_coordinate():
    plans = [
        shifted(vanilla(5), 4),
        shifted(sequential_boot(5), 4),
        vanilla(4),
        vanilla(4),
    ]  # K = 2, d = 2
    per_merge = steps_per_merge(plans, Stage("per_merge", 10, 2))
    assert per_merge == ((10,), (10,) * 4, (10,), (10,))
    # 88 / 2 and 88 / 5, of which the merges of the last step of the student get the remainder.
    assert steps_per_merge(plans, Stage("total", 11, 2)) == ((44,), (17, 17, 18, 18), (44,), (18,))


@given(st.integers(0, 500), st.integers(1, 40))
def test_no_step_of_a_total_is_left_over(steps, count):
    parts = equal_parts(steps, count)
    assert (len(parts), sum(parts)) == (count, steps)
    assert list(parts) == sorted(parts)
    assert parts[-1] - parts[0] <= 1


def test_one_step_leaves_nothing_to_merge():
    assert steps_per_merge([step(1)], Stage("total", 10)) == ((),)


def strategy(*plans):
    """A strategy of these plans, one per coordinate; jobs do not depend on its value."""
    return StrategyPlans(plans, np.zeros(len(plans)), 0.0, optimal=False)


def test_cases_of_equal_work_share_a_job_and_others_do_not():
    boots = strategy(sequential_boot(5), sequential_boot(5))
    mixed = strategy(vanilla(5), sequential_boot(5))
    plans = {
        Stage("per_merge", 10): {"a": boots, "b": boots},
        Stage("total", 10): {"a": boots, "c": mixed},
        Stage("per_merge", 40): {"a": strategy(vanilla(5), vanilla(5)), "c": mixed},
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
    assert mixed.steps_per_merge == ((40,), (10, 10, 10, 10))
    assert (mixed.num_merges, mixed.gradient_steps) == (4, 40)


def test_students_of_versions_that_left_the_remainder_unused_are_not_taken():
    three = merge(step(5), merge(step(4), vanilla(3)))
    stage = Stage("total", 10)
    jobs = list_jobs({stage: {"even": strategy(vanilla(5)), "uneven": strategy(three)}}, [0])
    names = {case.strategy: own.name for case, own in jobs.items()}
    assert names == {
        "even": "total_00010_even_seed0",
        "uneven": "total_00010_uneven_seed0_all_steps",
    }
    assert jobs[Case("uneven", stage, 0)].steps_per_merge == ((13, 13, 14),)


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
    three = merge(step(6), merge(step(5), vanilla(4)))
    plans = [(vanilla(6), sequential_boot(6), three)[i % 3] for i in range(128)]
    asked = job(plans, "total", steps=7)
    assert set(asked.steps_per_merge) == {(35,), (7,) * 5, (11, 12, 12)}
    taken = []
    computed = do_job(training, asked)
    trained = do_job(replace(training, engine="sgd"), asked, lambda: taken.append(1))
    np.testing.assert_allclose(trained.operator, computed.operator, rtol=0, atol=2e-5)
    assert len(taken) == asked.sequential_steps == 35 + 5 * 7 + 11 + 12 + 12
    # The recursion by hand for the plan of three merges.
    a, n = training.problem().operators[:, 2], inputs_of(training, 3).second_moments[:, 2]
    inner = a[:4].prod() + (1 - 0.064 * n[3]) ** 11 * a[3] * (1 - a[:3].prod())
    inner = a[4] * (inner + (1 - 0.064 * n[4]) ** 12 * (1 - inner))
    whole = a[5] * (inner + (1 - 0.064 * n[5]) ** 12 * (1 - inner))
    np.testing.assert_allclose(computed.predicted[2], whole, rtol=1e-12)


@pytest.mark.parametrize("kind", ["operator", "denoiser"])
def test_the_engines_agree_where_merges_have_shares_of_the_steps(training, kind):
    """One merge trains not at all: its student is a copy of its noisiest part."""
    training = replace(training, parametrisation=Parametrisation(kind))
    plans = [merge(step(6), merge(step(5), vanilla(4))), merge(merge(step(6), step(5)), *STEPS)]
    plans = tuple(plans[i % 2] for i in range(128))
    shares = [((0.31, 0.0, 0.69), (0.02, 0.98))[i % 2] for i in range(128)]
    stage = Stage("best_split", 7)
    asked = Job("test", plans, steps_per_merge(plans, stage, shares), seed=3)
    assert set(asked.steps_per_merge) == {(11, 0, 24), (1, 34)}
    computed = do_job(training, asked)
    trained = do_job(replace(training, engine="sgd"), asked)
    np.testing.assert_allclose(trained.operator, computed.operator, rtol=0, atol=2e-5)
    assert asked.gradient_steps == trained.gradient_steps == 35


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
