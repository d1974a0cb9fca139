"""Distil a plan: one student per merge, in plan order, each trained towards its parts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from neural.jumps import Jump, Loss
from planner.plan import Plan, merges

OptimizerName = Literal["adam", "sgd"]


def distil_plan(
    plan: Plan,
    teacher_step: Callable[[int], Jump],
    train: Callable[[Jump, Sequence[Jump]], object],
) -> Jump:
    """The student that ``plan`` leaves for its whole jump.

    Args:
        teacher_step: t -> the teacher's step x_t -> x_{t-1}.
        train: Called once per merge with its student and its parts, noisiest first; trains the
            student in place.
    """
    students: dict[tuple[int, int], Jump] = {}

    def jump_of(part: Plan) -> Jump:
        # A part belongs to one whole only, so its student is taken out for good.
        return students.pop((part.start, part.stop)) if part.parts else teacher_step(part.start)

    for merge in merges(plan):
        parts = [jump_of(part) for part in merge.parts]
        student = parts[0].merged(merge.stop)
        train(student, parts)
        students[merge.start, merge.stop] = student.requires_grad_(False)
    return jump_of(plan)


def apply_jumps(jumps: Sequence[nn.Module], x: Tensor) -> Tensor:
    """One jump after another, noisiest first, (S, B, d) -> (S, B, d)."""
    for jump in jumps:
        x = jump(x)
    return x


@dataclass(frozen=True, eq=False)
class Task:
    """What a student learns: one merge."""

    student: Jump
    parts: Sequence[Jump]
    """Noisiest first; together they are the target."""
    draw_inputs: Callable[[], Tensor]
    """The next batch of x_start, (S, B, d)."""


def fit(
    tasks: Sequence[Task],
    updates: int,
    loss: Loss,
    optimizer_name: OptimizerName,
    lr: float,
    on_update: Callable[[Task], object],
) -> Tensor:
    """Regress students onto their parts in place, one task after another, again and again.

        loss of a member = mean over its batch of weight * |student(x) - parts(x)|**2

    Args:
        tasks: One, or several whose students share all weights.
        updates: Gradient steps of all tasks together.
        lr: Constant for SGD; for Adam the first learning rate of a straight line to 0.

    Returns:
        The loss before each update, (updates, S).

    Raises:
        FloatingPointError: the loss or a weight stopped being finite; names merge and update.
    """
    optimizer = make_optimizer(optimizer_name, tasks[0].student.parameters(), lr)
    losses = []
    for update in range(updates):
        task = tasks[update % len(tasks)]
        x_start = task.draw_inputs()
        with torch.no_grad():
            x_stop = apply_jumps(task.parts, x_start)

        squares = (task.student(x_start) - x_stop).square().sum(dim=2).mean(dim=1)  # (S,)
        errors = task.student.loss_weight(loss) * squares
        optimizer.zero_grad()
        errors.sum().backward()  # members share no weight, so none feels another's loss
        if optimizer_name == "adam":
            optimizer.param_groups[0]["lr"] = lr * (1.0 - update / updates)
        optimizer.step()

        losses.append(errors.detach())
        on_update(task)
    record = torch.stack(losses) if losses else torch.empty(0, 1)
    _refuse_divergence(tasks, record, lr)
    return record


def make_optimizer(
    name: OptimizerName, parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """Adam or plain gradient descent over those parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if name == "adam":
        return torch.optim.Adam(trained, lr=lr, fused=True)
    return torch.optim.SGD(trained, lr=lr)


def _refuse_divergence(tasks: Sequence[Task], losses: Tensor, lr: float) -> None:
    finite = losses.isfinite().all(dim=1)
    if finite.all() and all(weight.isfinite().all() for weight in tasks[0].student.parameters()):
        return
    update = len(finite) - 1 if finite.all() else int((~finite).nonzero()[0, 0])
    student = tasks[update % len(tasks)].student
    raise FloatingPointError(
        f"the merge x_{student.start} -> x_{student.stop} diverged at update {update + 1} with "
        f"learning rate {lr:g}"
    )
