"""The steps that a CUDA graph replays against autograd, on a stand-in for CUDA's graphs."""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import pytest
import torch

import distill.train
from diffusion.schedule import cosine_schedule
from distill import gradient_steps
from distill.gradient_steps import fit_on_cuda, fit_operators
from distill.inputs import gaussian_inputs, redrawn_gaussian_inputs
from distill.jobs import plan_stage, steps_per_merge
from distill.train import count_steps, train_students
from planner.budget import Stage
from planner.problem import make_problem
from tests import fake_cuda

LR = 1e-2
CPU = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch):
    gradient_steps._buffers.cache_clear()
    yield fake_cuda.install(monkeypatch)
    gradient_steps._buffers.cache_clear()


def lesson(students: int, batches: int, seed: int = 0):
    """Parameters, embeddings and batches of a training, in float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    theta, embeddings = torch.rand(2, students, 64, **draw)
    x_start = torch.randn(batches, 20, students, **draw)
    return theta, embeddings / 8, [(x, torch.rand(students, **draw) * x) for x in x_start]


def trained(students: int, steps: np.ndarray, fresh: bool, seed: int = 0):
    """By the steps for CUDA, and by autograd student by student."""
    theta, embeddings, pairs = lesson(students, batches=int(steps.max()), seed=seed)
    pairs = pairs if fresh else list(repeat(pairs[0], len(pairs)))
    ours = fit_on_cuda(theta, embeddings, pairs, steps, LR, lambda: None)
    own = []
    for m, count in enumerate(steps):
        one = [(x[:, m : m + 1], y[:, m : m + 1]) for x, y in pairs[:count]]
        own.append(fit_operators(theta[m : m + 1], embeddings[m : m + 1], one, LR, lambda: None))
    return ours, torch.cat(own)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("capture_from", [1, 1000], ids=["captured", "eager"])
def test_every_student_takes_its_own_number_of_autograd_steps(
    cuda, monkeypatch, capture_from, fresh
):
    monkeypatch.setattr(gradient_steps, "WORTH_A_CAPTURE", capture_from)
    ours, own = trained(5, np.array([7, 3, 7, 1, 12]), fresh)
    torch.testing.assert_close(ours, own, rtol=1e-12, atol=1e-14)
    assert len(cuda.graphs) == (capture_from == 1)


def test_steps_are_captured_where_the_parameters_are_and_not_where_captures_were_before(cuda):
    """A graph captured for another device stays empty, and training ends after one step."""
    trained(5, np.full(5, gradient_steps.WORTH_A_CAPTURE), fresh=False)
    (graph,) = cuda.graphs
    assert graph.replays == gradient_steps.WORTH_A_CAPTURE
    assert len(graph.kernels) == 4
    assert cuda.modes == ["thread_local"]  # other threads of a Dask worker may allocate


def test_one_capture_serves_all_trainings_of_a_size(cuda, monkeypatch):
    monkeypatch.setattr(gradient_steps, "WORTH_A_CAPTURE", 1)
    for seed, students in enumerate([30, 7, 32, 1]):  # what one leaves must not reach the next
        ours, own = trained(students, np.full(students, 4), fresh=False, seed=seed)
        torch.testing.assert_close(ours, own, rtol=1e-12, atol=1e-14)
    assert len(cuda.graphs) == 1
    trained(33, np.full(33, 4), fresh=False)
    assert len(cuda.graphs) == 2


def test_few_steps_use_a_graph_only_if_there_is_one(cuda):
    few, many = np.array([3]), np.array([gradient_steps.WORTH_A_CAPTURE])
    trained(1, few, fresh=False)
    assert not cuda.graphs
    trained(1, many, fresh=False)
    ours, own = trained(1, few, fresh=False)
    torch.testing.assert_close(ours, own, rtol=1e-12, atol=1e-14)
    assert cuda.graphs[0].replays == many[0] + few[0]


def test_threads_of_one_process_train_one_after_the_other(cuda, monkeypatch):
    monkeypatch.setattr(gradient_steps, "WORTH_A_CAPTURE", 1)
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(
            lambda seed: trained(40 * (1 + seed % 2), np.full(40 * (1 + seed % 2), 6), True, seed),
            range(8),
        )
        for ours, own in results:
            torch.testing.assert_close(ours, own, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("budget", ["per_merge", "total"])
def test_lessons_trained_at_once_give_the_students_of_lessons_one_by_one(
    cuda, monkeypatch, budget, fresh
):
    problem = make_problem(cosine_schedule(6), np.linspace(0.2, 2.0, 12))
    stage = Stage(budget, 5)
    plans = plan_stage(stage, problem, 1e-3).plans["per_dimension"]
    steps = steps_per_merge(plans, stage)
    inputs = gaussian_inputs(problem.schedule, problem.variances, 16, seed=0)
    if fresh:
        inputs = redrawn_gaussian_inputs(
            problem.schedule, problem.variances, 16, 0, CPU, fresh=True
        )

    def train() -> tuple[np.ndarray, int]:
        taken = []
        arguments = (plans, problem, inputs, steps, 1e-3, CPU, lambda: taken.append(1))
        return train_students(*arguments, dtype=torch.float64), len(taken)

    one_by_one, counted = train()
    monkeypatch.setattr(distill.train, "_replays", lambda device: True)
    at_once, counted_at_once = train()
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-12)
    assert counted == counted_at_once == count_steps(plans, steps)
