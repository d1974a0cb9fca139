"""What only a CUDA device can show about the students' training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion.schedule import cosine_schedule
from distill.gradient_steps import WORTH_A_CAPTURE, fit_on_cuda, fit_operators
from distill.inputs import gaussian_inputs
from distill.jobs import Job, Training, do_job, steps_per_merge
from distill.train import train_students
from planner.budget import Stage
from planner.problem import make_problem
from planner.strategies import CANONICAL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def trained_on(device: str, batches: torch.Tensor, steps: np.ndarray) -> np.ndarray:
    """Students of random parameters in float64, one batch per step; on the CPU by autograd."""
    theta, embeddings = torch.rand(
        2, 30, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).to(device)
    pairs = ((batch, 0.5 * batch) for batch in batches.to(device))
    if device == "cpu":
        return fit_operators(theta, embeddings, pairs, 1e-3, lambda: None).numpy()
    return fit_on_cuda(theta, embeddings, pairs, steps, 1e-3, lambda: None).cpu().numpy()


def test_gradient_steps_never_wait_for_the_device():
    device = torch.device("cuda")
    theta, embeddings = torch.rand(2, 30, 64, device=device, dtype=torch.float64)
    batches = torch.randn(2, 100, 30, device=device, dtype=torch.float64)
    many = WORTH_A_CAPTURE

    def pairs():
        yield batches[0], 0.5 * batches[0]  # what comes first may wait: the step is captured
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(many - 1):
            yield batches[1], 0.5 * batches[1]

    try:
        fit_on_cuda(theta, embeddings, pairs(), np.full(30, many), 1e-3, lambda: None)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("steps", [20, WORTH_A_CAPTURE], ids=["eager", "captured"])
def test_every_new_batch_is_seen(steps):
    batches = torch.randn(steps, 100, 30, dtype=torch.float64)
    cpu, cuda = (trained_on(device, batches, np.full(30, steps)) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda, cpu, rtol=1e-10)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_device_takes_all_steps_after_the_first_has_captured():
    steps = WORTH_A_CAPTURE
    batches = torch.randn(steps, 100, 30, dtype=torch.float64)
    cpu, *cuda = (
        trained_on(device, batches, np.full(30, steps)) for device in ("cpu", "cuda:0", "cuda:1")
    )
    for found in cuda:
        np.testing.assert_allclose(found, cpu, rtol=1e-10)


@pytest.mark.parametrize("name", CANONICAL)
def test_the_device_changes_nothing(name):
    problem = make_problem(cosine_schedule(8), np.array([0.3, 1.0, 4.0]))
    plans = (CANONICAL[name](8),) * 3
    inputs = gaussian_inputs(problem.schedule, problem.variances, batch_size=100, seed=0)
    cpu, cuda = (
        train_students(plans, problem, inputs, 20, 1e-3, torch.device(kind), dtype=torch.float64)
        for kind in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cuda, cpu, rtol=1e-10)


def test_a_job_of_the_comparison_has_its_closed_form_on_cuda_too():
    plans = (CANONICAL["sequential_boot"](6),) * 4
    job = Job("test", plans, steps_per_merge(plans, Stage("per_merge", 30)), seed=0)
    training = Training(
        cosine_schedule(6), (0.2, 0.7, 1.0, 1.3), None, 200, 1e-3, "closed_form", "cuda"
    )
    trained = do_job(replace(training, engine="sgd"), job).operator
    np.testing.assert_allclose(trained, do_job(training, job).operator, rtol=0, atol=2e-5)
