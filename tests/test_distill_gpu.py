"""What only a CUDA device can show about the students' training."""

import numpy as np
import pytest
import torch

from distill.inputs import gaussian_inputs
from distill.problem import plan_strategy, pose
from distill.train import fit_operators, train_students
from planner.strategies import CANONICAL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def test_gradient_steps_never_wait_for_the_device():
    device = torch.device("cuda")
    theta, embeddings = torch.rand(2, 30, 64, device=device, dtype=torch.float64)
    x_start = torch.randn(100, 30, device=device, dtype=torch.float64)
    pairs = [(x_start, 0.5 * x_start)] * 5
    fit_operators(theta, embeddings, pairs, 1e-3, lambda: None)
    torch.cuda.set_sync_debug_mode("error")
    try:
        fit_operators(theta, embeddings, pairs, 1e-3, lambda: None)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", CANONICAL)
def test_the_device_changes_nothing(name):
    problem = pose(8, np.array([0.3, 1.0, 4.0]))
    plans = plan_strategy(name, problem, np.zeros((8, 3)))
    inputs = gaussian_inputs(problem.schedule, problem.variances, batch_size=100, seed=0)
    cpu, cuda = (
        train_students(
            plans, problem.operators, inputs, 20, 1e-3, torch.device(kind), dtype=torch.float64
        )
        for kind in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cuda, cpu, rtol=1e-10)
