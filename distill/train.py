"""Training students under a plan, merge by merge, by minibatch gradient descent."""

from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.embedding import least_norm_parameters, time_embedding
from distill.inputs import Inputs
from planner.plan import Plan, rounds

Array = NDArray[np.float64]
Column = tuple[int, Plan]  # a coordinate and the merge that it makes


def train_students(
    plans: Sequence[Plan],
    operators: Array,
    inputs: Inputs,
    epochs: int,
    lr: float,
    device: torch.device,
    on_epoch: Callable[[], object] = lambda: None,
) -> Array:
    """Execute one plan a coordinate by real gradient steps; all coordinates at once.

    The student of time t is Diag(theta_t emb(t/T)), theta_t in R^{d x 64}. It begins as the
    teacher step A_t; a merge that starts at t trains theta_t towards the product of its parts'
    students ([OM] App. J). A plan for all coordinates is that plan d times.

    Args:
        plans: A plan over T steps for each of the d coordinates.
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        epochs: Gradient steps a merge, each on the whole batch of its time.
        on_epoch: Called after every gradient step.

    Returns:
        The operator that each coordinate ends with, (d,).

    Raises:
        FloatingPointError: a student stopped being finite.
    """
    num_steps = len(operators)
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    embeddings = time_embedding(times)  # (T, 64)
    theta = least_norm_parameters(torch.from_numpy(operators), embeddings)  # (T, d, 64)
    theta, embeddings = theta.float().to(device), embeddings.float().to(device)

    for columns in _rounds_of_columns(plans):
        coordinates = torch.tensor([i for i, _ in columns], device=device)
        rows = torch.tensor([jump.start - 1 for _, jump in columns], device=device)
        with torch.no_grad():
            target = _part_products(columns, theta, embeddings)  # (M,)
        trained = fit_operators(
            theta[rows, coordinates],
            embeddings[rows],
            target,
            _batches(columns, inputs).to(device),
            epochs,
            lr,
            on_epoch,
        )
        if not trained.isfinite().all():
            jump = columns[int((~trained.isfinite().all(dim=1)).nonzero()[0])][1]
            raise FloatingPointError(
                f"the student of the jump x_{jump.start} -> x_{jump.stop} is not finite after "
                f"{epochs} gradient steps; lower --lr (now {lr})"
            )
        theta[rows, coordinates] = trained

    students = (theta * embeddings[:, None, :]).sum(dim=2).double().cpu().numpy()
    return students[[plan.start - 1 for plan in plans], np.arange(len(plans))]


def fit_operators(
    theta: Tensor,
    embeddings: Tensor,
    target: Tensor,
    x_start: Tensor,
    epochs: int,
    lr: float,
    on_epoch: Callable[[], object],
) -> Tensor:
    """Regress M scalar students onto M scalar targets by plain gradient descent.

        loss = mean over the batch of sum_m (theta_m.emb_m x_m - target_m x_m)**2

    Args:
        theta: Initial parameters, (M, 64); left alone.
        embeddings: Time embedding of each student, (M, 64).
        target: Operators to learn, (M,).
        x_start: Inputs, (B, M).

    Returns:
        Trained parameters, (M, 64).
    """
    theta = theta.clone().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=lr)
    x_stop = target * x_start
    for _ in range(epochs):
        operator = (theta * embeddings).sum(dim=1)  # (M,)
        loss = (operator * x_start - x_stop).square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_epoch()
    return theta.detach()


def count_rounds(plans: Sequence[Plan]) -> int:
    """Rounds of gradient descent that ``train_students`` will make of the plans."""
    return max(len(rounds(plan)) for plan in plans)


def _rounds_of_columns(plans: Sequence[Plan]) -> list[list[Column]]:
    """Round by round, every (coordinate, merge) that can be trained at once."""
    rounds_of = {id(plan): rounds(plan) for plan in plans}
    per_coordinate = [rounds_of[id(plan)] for plan in plans]
    return [
        [(i, jump) for i, jumps in enumerate(together) for jump in jumps]
        for together in zip_longest(*per_coordinate, fillvalue=[])
    ]


def _part_products(columns: list[Column], theta: Tensor, embeddings: Tensor) -> Tensor:
    """Product of the current students of each merge's parts, (M,)."""
    students = (theta * embeddings[:, None, :]).sum(dim=2)  # (T, d)
    ones = torch.ones_like(students[:1])
    padded = torch.cat([ones, students])  # row t belongs to t, row 0 fills up
    width = max(len(jump.parts) for _, jump in columns)
    starts = torch.zeros(len(columns), width, dtype=torch.long)
    for m, (_, jump) in enumerate(columns):
        starts[m, : len(jump.parts)] = torch.tensor([part.start for part in jump.parts])
    coordinates = torch.tensor([i for i, _ in columns])[:, None]
    return padded[starts.to(theta.device), coordinates.to(theta.device)].prod(dim=1)


def _batches(columns: list[Column], inputs: Inputs) -> Tensor:
    """The batch of every column's time and coordinate, (B, M), CPU."""
    batch = torch.empty(inputs.batch_size, len(columns))
    for t in sorted({jump.start for _, jump in columns}):
        here = [m for m, (_, jump) in enumerate(columns) if jump.start == t]
        batch[:, here] = inputs.draw(t)[:, [columns[m][0] for m in here]]
    return batch
