"""Both engines of the comparison, on the very same batches."""

from dataclasses import replace

import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from distill.engines import Training, do_job, inputs_of
from distill.jobs import Job, steps_per_merge
from distill.law import decay_rates, sgd_shrinkage, train_time
from experiment.write import sha256
from planner.budget import Stage
from planner.problem import make_problem
from planner.strategies import CANONICAL, sequential_boot, vanilla
from vae.latents import load_latents

LR = 1e-3


@pytest.fixture
def training(model_run) -> Training:
    file = model_run[1] / "latents.safetensors"
    return Training(
        num_steps=6,
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
