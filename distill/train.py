"""Training students under a plan, merge by merge, by minibatch gradient descent."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, repeat, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.descent import fit_operators
from distill.inputs import Inputs
from distill.student import least_norm_parameters, time_embedding
from planner.plan import Plan, rounds

Array = NDArray[np.float64]
Column = tuple[int, Plan]  # a coordinate and the merge that it makes
# Trained at once: more of them leave the processor's cache, and a step takes several times longer.
COLUMNS_AT_ONCE = 128


def train_students(
    plans: Sequence[Plan],
    operators: Array,
    inputs: Inputs,
    epochs: int,
    lr: float,
    device: torch.device,
    on_epoch: Callable[[], object] = lambda: None,
    dtype: torch.dtype = torch.float32,
) -> Array:
    """Execute one plan a coordinate by real gradient steps; all coordinates at once.

    The student of time t is Diag(theta_t emb(t/T)), theta_t in R^{d x 64}. It begins as the
    teacher step A_t; a merge that starts at t trains theta_t towards the product of its parts'
    students ([OM] App. J). A plan for all coordinates is that plan d times.

    Args:
        plans: A plan over T steps for each of the d coordinates.
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        epochs: Gradient steps a merge, each on a whole batch.
        on_epoch: Called after every gradient step, ``count_fits(plans) * epochs`` times.

    Returns:
        The operator that each coordinate ends with, (d,).

    Raises:
        FloatingPointError: a student stopped being finite.
    """
    num_steps = len(operators)
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    embeddings = time_embedding(times)  # (T, 64)
    theta = least_norm_parameters(torch.from_numpy(operators), embeddings)  # (T, d, 64)
    theta, embeddings = theta.to(device, dtype), embeddings.to(device, dtype)

    for columns in _columns_at_once(plans):
        coordinates = torch.tensor([i for i, _ in columns], device=device)
        rows = torch.tensor([jump.start - 1 for _, jump in columns], device=device)
        with torch.no_grad():
            target = _part_products(columns, theta, embeddings)  # (M,)
        trained = fit_operators(
            theta[rows, coordinates],
            embeddings[rows],
            _training_pairs(columns, inputs, target, epochs),
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


def count_fits(plans: Sequence[Plan]) -> int:
    """Calls of ``fit_operators`` that ``train_students`` will make of the plans."""
    return len(_columns_at_once(plans))


def _columns_at_once(plans: Sequence[Plan]) -> list[list[Column]]:
    """What is trained together, in order: the rounds, cut between merges where they are wide.

    The merges of a round do not wait for each other, so neither do its pieces.
    """
    pieces = []
    for columns in _rounds_of_columns(plans):
        piece: list[Column] = []
        for _, group in _merges_of(columns):
            if piece and len(piece) + len(group) > COLUMNS_AT_ONCE:
                pieces.append(piece)
                piece = []
            piece.extend(group)
        pieces.append(piece)
    return pieces


def _rounds_of_columns(plans: Sequence[Plan]) -> list[list[Column]]:
    """Round by round, every (coordinate, merge) that does not wait for another."""
    rounds_of = {id(plan): rounds(plan) for plan in plans}
    per_coordinate = [rounds_of[id(plan)] for plan in plans]
    return [
        sorted(((i, jump) for i, jumps in enumerate(together) for jump in jumps), key=_ends)
        for together in zip_longest(*per_coordinate, fillvalue=[])
    ]


def _ends(column: Column) -> tuple[int, int]:
    """What the columns of a round are sorted by, so that those of one merge stand together."""
    return column[1].start, column[1].stop


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


def _training_pairs(
    columns: list[Column], inputs: Inputs, target: Tensor, epochs: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Inputs x_start and teachers' outputs x_stop of each gradient step, (B, M) each.

    Args:
        target: What each column learns, (M,), on the device of the training.
    """
    merges_with_coordinates = [
        (jump, torch.tensor([i for i, _ in group], device=target.device))
        for jump, group in _merges_of(columns)
    ]

    def draw(jump: Plan, update: int) -> Tensor:  # (B, d)
        batch = inputs.redraw(jump, update) if inputs.redraw else inputs.draw(jump.start)
        return batch.to(target.device, target.dtype)

    def pair(update: int) -> tuple[Tensor, Tensor]:
        parts = [draw(jump, update)[:, i] for jump, i in merges_with_coordinates]
        x_start = torch.cat(parts, dim=1)
        return x_start, target * x_start

    return map(pair, range(epochs)) if inputs.fresh else repeat(pair(0), epochs)


def _merges_of(columns: list[Column]) -> Iterable[tuple[Plan, list[Column]]]:
    """The merges of a round, each with its columns."""
    for _, group in groupby(columns, key=_ends):
        together = list(group)
        yield together[0][1], together
