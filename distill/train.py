"""Training students under a plan, merge by merge, by minibatch gradient descent ([OM] App. J).

The student of time t predicts c_t x_t with Diag(c_t) = Diag(theta_t emb(t/T)), theta_t in R^{d x
64}. For the parametrisation ``operator`` c_t x_t is the end of the jump itself. For ``denoiser`` it
is x_0 or v, and the student jumps by the DDIM formula; see ``planner.parametrisation``. It starts
as the teacher step A_t. A merge that starts at t trains theta_t towards the product of the students
of its parts. Coordinates never interact, so each may follow a plan of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, repeat, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.gradient_steps import EMBEDDING_DIM, fit_on_cuda, fit_operators
from distill.inputs import Inputs
from planner.budget import MergeSteps
from planner.parametrisation import operator_by_prediction
from planner.plan import Plan, by_merge, map_distinct, num_merges, rounds
from planner.problem import Problem

Array = NDArray[np.float64]
Column = tuple[int, Plan]
"""A coordinate and a merge that it makes: one scalar student to train. A student of several steps
is trained as one student per time, because its steps share no time."""

SQUARED_NORM = EMBEDDING_DIM / 2  # sin**2 + cos**2 = 1 for each of the 32 frequencies
# More columns at once leave the processor's cache, and a step takes several times longer.
COLUMNS_AT_ONCE = 128
COLUMNS_AT_ONCE_ON_CUDA = 8_192  # there a step's launches take longer than its work


def train_students(
    plans: Sequence[Plan],
    problem: Problem,
    inputs: Inputs,
    steps_per_merge: int | MergeSteps,
    lr: float,
    device: torch.device,
    on_step: Callable[[], object] = lambda: None,
    dtype: torch.dtype = torch.float32,
) -> Array:
    """Execute the plans of every coordinate by real gradient steps, all coordinates at once.

    Args:
        plans: One plan per step of the student and coordinate, K d of them, step by step. To
            execute one plan for all coordinates, give it d times.
        problem: The teacher's steps, and what the students predict.
        steps_per_merge: Gradient steps of every merge, the same for all or one by one. Each is on a
            whole batch.
        on_step: Called after every gradient step, ``count_steps(plans, steps_per_merge)`` times.

    Returns:
        The operator that each coordinate ends with, (d,): the product over the student's steps.

    Raises:
        FloatingPointError: a student stopped being finite.
    """
    num_steps = problem.num_steps
    jumps = _Jumps.of(problem, device, dtype)
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    embeddings = time_embedding(times)  # (T, 64)
    coefficients = _coefficients_of_steps(problem)  # (T, d)
    theta = least_norm_parameters(torch.from_numpy(coefficients), embeddings)  # (T, d, 64)
    theta, embeddings = theta.to(device, dtype), embeddings.to(device, dtype)

    width = len(problem.variances)
    for lessons in _at_once(training_rounds(plans, steps_per_merge, width), device):
        columns = [column for lesson in lessons for column in lesson.columns]
        steps = np.repeat([own.steps for own in lessons], [len(own.columns) for own in lessons])
        coordinates = torch.tensor([i for i, _ in columns], device=device)
        rows = torch.tensor([jump.start - 1 for _, jump in columns], device=device)
        with torch.no_grad():
            target = _targets(columns, theta, embeddings, jumps)  # (M,)
        initial = theta[rows, coordinates], embeddings[rows]
        pairs = _training_pairs(columns, inputs, target, jumps.scales, max(steps))
        if _replays(device):
            trained = fit_on_cuda(*initial, pairs, steps, lr, _counting(lessons, on_step))
        else:
            trained = fit_operators(*initial, pairs, lr, on_step)
        if not trained.isfinite().all():
            bad = int((~trained.isfinite().all(dim=1)).nonzero()[0])
            jump = columns[bad][1]
            raise FloatingPointError(
                f"the student of the jump x_{jump.start} -> x_{jump.stop} is not finite after "
                f"{steps[bad]} gradient steps; lower --lr (now {lr})"
            )
        theta[rows, coordinates] = trained

    students = (theta * embeddings[:, None, :]).sum(dim=2).double().cpu().numpy()
    shape = (-1, width)  # (K, d)
    starts = np.reshape([plan.start for plan in plans], shape)
    stops = np.reshape([plan.stop for plan in plans], shape)
    last = students[starts - 1, np.arange(shape[1])]
    offset, slope = operator_by_prediction(problem.schedule, problem.parametrisation)
    operators = offset[starts, stops] + slope[starts, stops] * last
    product: Array = operators.prod(axis=0)
    return product


@dataclass(frozen=True, eq=False)
class _Jumps:
    """operator = offset + slope * coefficient of the jumps x_b -> x_u, at [b, u], on the device."""

    offset: Tensor
    slope: Tensor
    scales: Array
    """sqrt(w): a loss is that of the coefficient, with inputs scaled by it, (T + 1, T + 1)."""

    @staticmethod
    def of(problem: Problem, device: torch.device, dtype: torch.dtype) -> "_Jumps":
        offset, slope = operator_by_prediction(problem.schedule, problem.parametrisation)
        offset[0, 0], slope[0, 0] = 0.0, 1.0  # pads merges of few parts; see _targets
        return _Jumps(
            torch.from_numpy(offset).to(device, dtype),
            torch.from_numpy(slope).to(device, dtype),
            np.sqrt(problem.weights),
        )


def _coefficients_of_steps(problem: Problem) -> Array:
    """The coefficients with which students are the teacher's steps, (T, d)."""
    offset, slope = operator_by_prediction(problem.schedule, problem.parametrisation)
    t = np.arange(1, problem.num_steps + 1)
    coefficients: Array = (problem.operators - offset[t, t - 1, None]) / slope[t, t - 1, None]
    return coefficients


def time_embedding(times: Tensor) -> Tensor:
    """Embed times t/T, (n,) -> (n, 64); every row has squared norm 32.

        emb(x) = (sin(w_1 x), cos(w_1 x), ..., sin(w_32 x), cos(w_32 x)),  w_i = 10000**(-2i/64)

    [OM] eq. 95; i runs over 1..32 there, not over the usual 0..31.
    """
    i = torch.arange(1, EMBEDDING_DIM // 2 + 1, dtype=times.dtype, device=times.device)
    angles = times[:, None] * 10_000.0 ** (-2.0 * i / EMBEDDING_DIM)  # (n, 32)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=1)


def least_norm_parameters(operators: Tensor, embeddings: Tensor) -> Tensor:
    """The smallest theta whose students are the given operators: theta = emb A / |emb|**2.

    Args:
        operators: (n, d), one row per time.
        embeddings: (n, 64).

    Returns:
        (n, d, 64), with ``theta @ emb == operators``.
    """
    return operators[:, :, None] * embeddings[:, None, :] / SQUARED_NORM


@dataclass(frozen=True)
class Lesson:
    """Columns that take equally many gradient steps, at once."""

    steps: int
    columns: list[Column]


def same_steps(plans: Sequence[Plan], steps_per_merge: int | MergeSteps) -> MergeSteps:
    """Gradient steps of every merge of each plan, where one number stands for all."""
    if not isinstance(steps_per_merge, int):
        return steps_per_merge
    steps = steps_per_merge
    return tuple(map_distinct(lambda plan: (steps,) * num_merges(plan), plans))


def training_rounds(
    plans: Sequence[Plan], steps_per_merge: int | MergeSteps, width: int
) -> list[list[Lesson]]:
    """The lessons of every round, in order. The lessons of a round do not wait for each other.

    A lesson is a part of a round: the merges that take equally many steps, and no more of them than
    the processor's cache holds.

    Args:
        width: Number of coordinates d. There is one plan per step of the student and coordinate.
    """
    known: dict[tuple[int, tuple[int, ...]], dict[tuple[int, int], int]] = {}
    steps = []  # for each plan the steps of its merges
    for plan, own in zip(plans, same_steps(plans, steps_per_merge), strict=True):
        if (id(plan), own) not in known:
            known[id(plan), own] = by_merge(plan, own)
        steps.append(known[id(plan), own])
    found = []
    for together in zip_longest(*map_distinct(rounds, plans), fillvalue=[]):
        columns: dict[int, list[Column]] = {}
        for i, jumps in enumerate(together):
            for jump in jumps:
                taken = steps[i][jump.start, jump.stop]
                columns.setdefault(taken, []).append((i % width, jump))
        found.append(
            [Lesson(count, part) for count in sorted(columns) for part in _divided(columns[count])]
        )
    return found


def count_steps(plans: Sequence[Plan], steps_per_merge: int | MergeSteps) -> int:
    """Gradient steps of all lessons: those that a CPU takes one after the other."""
    # Lessons are counted, not listed: ten thousands of coordinates share a few plans.
    objects = {id(plan): plan for plan in plans}
    kinds = Counter(zip(map(id, plans), same_steps(plans, steps_per_merge), strict=True))
    columns: dict[tuple[int, int], Counter[tuple[int, int]]] = {}  # round, steps -> ends -> columns
    for (key, own), count in kinds.items():
        plan, steps = objects[key], by_merge(objects[key], own)
        for number, together in enumerate(rounds(plan)):
            for jump in together:
                ends = jump.start, jump.stop
                columns.setdefault((number, steps[ends]), Counter())[ends] += count
    return sum(
        steps * (1 + _list_numbers([sizes[ends] for ends in sorted(sizes)])[-1])
        for (_, steps), sizes in columns.items()
    )


def _replays(device: torch.device) -> bool:
    """Whether steps are replayed there; then students may take different numbers of them."""
    return device.type == "cuda"


def _at_once(
    rounds_of_lessons: Iterable[Sequence[Lesson]], device: torch.device
) -> Iterator[list[Lesson]]:
    """Lessons to train at once: on a CPU each by itself, on CUDA up to 8,192 columns of a round."""
    for together in rounds_of_lessons:
        lists: list[list[Lesson]] = [[]]
        for own in together:
            held = sum(len(lesson.columns) for lesson in lists[-1])
            full = held + len(own.columns) > COLUMNS_AT_ONCE_ON_CUDA
            if lists[-1] and (full or not _replays(device)):
                lists.append([])
            lists[-1].append(own)
        yield from lists


def _counting(lessons: Sequence[Lesson], on_step: Callable[[], object]) -> Callable[[], None]:
    """``on_step`` once per step of every lesson, where a step is taken for all of them at once."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        for lesson in lessons:
            if lesson.steps >= taken:
                on_step()

    return count


def _divided(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns of a round in lists of about ``COLUMNS_AT_ONCE``; no list divides a merge."""
    merges = [same_merge for _, same_merge in _by_merge(sorted(columns, key=_ends))]
    numbers = _list_numbers(list(map(len, merges)))
    lists: list[list[Column]] = [[] for _ in range(1 + numbers[-1])]
    for number, same_merge in zip(numbers, merges, strict=True):
        lists[number].extend(same_merge)
    return lists


def _list_numbers(sizes: Sequence[int]) -> list[int]:
    """The number of the list that takes each merge.

    Args:
        sizes: Columns of each merge.
    """
    numbers, held = [0], sizes[0]
    for size in sizes[1:]:
        full = held + size > COLUMNS_AT_ONCE
        numbers.append(numbers[-1] + full)
        held = size if full else held + size
    return numbers


def _by_merge(columns: Iterable[Column]) -> Iterator[tuple[Plan, list[Column]]]:
    """Each jump with its columns, which must stand together."""
    for _, group in groupby(columns, key=_ends):
        same_merge = list(group)
        yield same_merge[0][1], same_merge


def _ends(column: Column) -> tuple[int, int]:
    return column[1].start, column[1].stop


def _targets(columns: Sequence[Column], theta: Tensor, embeddings: Tensor, jumps: _Jumps) -> Tensor:
    """The coefficient that each column learns, (M,): its jump is then the product of the parts."""
    students = (theta * embeddings[:, None, :]).sum(dim=2)  # (T, d)
    ones = torch.ones_like(students[:1])
    padded = torch.cat([ones, students])  # row t belongs to t; row 0 pads merges of few parts
    width = max(len(jump.parts) for _, jump in columns)
    starts = torch.zeros(len(columns), width, dtype=torch.long)
    stops = torch.zeros_like(starts)
    for m, (_, jump) in enumerate(columns):
        starts[m, : len(jump.parts)] = torch.tensor([part.start for part in jump.parts])
        stops[m, : len(jump.parts)] = torch.tensor([part.stop for part in jump.parts])
    starts, stops = starts.to(theta.device), stops.to(theta.device)
    coordinates = torch.tensor([i for i, _ in columns], device=theta.device)[:, None]
    parts = jumps.offset[starts, stops] + jumps.slope[starts, stops] * padded[starts, coordinates]
    start = torch.tensor([jump.start for _, jump in columns], device=theta.device)
    stop = torch.tensor([jump.stop for _, jump in columns], device=theta.device)
    return (parts.prod(dim=1) - jumps.offset[start, stop]) / jumps.slope[start, stop]


def _training_pairs(
    columns: Sequence[Column], inputs: Inputs, target: Tensor, scales: Array, steps: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Inputs x_start and the predictions to learn for each gradient step, (B, M) each.

    Args:
        target: What each column learns, (M,), on the device of the training.
        scales: sqrt(w) of every jump's loss, (T + 1, T + 1), at [start, stop].
    """
    merges = [
        (jump, torch.tensor([i for i, _ in same_merge], device=target.device))
        for jump, same_merge in _by_merge(columns)
    ]

    def draw(jump: Plan, step: int) -> Tensor:  # (B, d)
        batch = inputs.redraw(jump, step) if inputs.redraw else inputs.draw(jump.start)
        return batch.to(target.device, target.dtype) * float(scales[jump.start, jump.stop])

    def pair(step: int) -> tuple[Tensor, Tensor]:
        x_start = torch.cat([draw(jump, step)[:, i] for jump, i in merges], dim=1)
        return x_start, target * x_start

    return map(pair, range(steps)) if inputs.fresh else repeat(pair(0), steps)
