"""Distil plans in rounds: one student per merge, each trained towards its parts.

The merges of a round do not need each other. So the ready merges of any number of plans and
strategies can be trained side by side: those that take equally many gradient steps share each one.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import torch
from torch import Tensor, nn

from neural.jumps import Jump, Loss
from planner.plan import Plan, rounds

OptimizerName = Literal["adam", "sgd"]


@dataclass(frozen=True, eq=False)
class Task:
    """What a student learns: one merge."""

    student: Jump
    parts: Sequence[nn.Module]
    """Noisiest first; together they are the target."""
    draw_inputs: Callable[[], Tensor]
    """The next batch of x_start, (S, B, d)."""


Group = Sequence[Task]
"""Tasks that train the same weights: one, or several whose students share them."""
Rounds = Generator[list[Group], None, list[Jump]]
"""Yields the groups of a round, which are trained in place before the next round is asked for.
Returns the student of every plan."""
Batches = Callable[[int, int], Iterator[Tensor]]
"""(start, stop) -> endless inputs x_start of that merge, (S, B, d)."""


def merges_in_rounds(plans: Sequence[Plan]) -> Iterator[list[Plan]]:
    """The merges of several plans, noisiest plan first; those of a round do not need each other."""
    for of_plans in zip_longest(*map(rounds, plans), fillvalue=[]):
        yield [merge for of_plan in of_plans for merge in of_plan]


def distil_plans(
    plans: Sequence[Plan], teacher_step: Callable[[int], Jump], batches: Batches
) -> Rounds:
    """Students of ``plans`` over different steps; every merge trains a network of its own.

    Args:
        teacher_step: t -> the teacher's step x_t -> x_{t-1}.
    """
    students: dict[tuple[int, int], Jump] = {}

    def jump_of(part: Plan) -> Jump:
        # A part belongs to one whole only, so its student is taken out for good.
        return students.pop((part.start, part.stop)) if part.parts else teacher_step(part.start)

    for ready in merges_in_rounds(plans):
        tasks = []
        for merge in ready:
            parts = [jump_of(part) for part in merge.parts]
            inputs = batches(merge.start, merge.stop)
            tasks.append(Task(parts[0].merged(merge.stop), parts, inputs.__next__))
        yield [[task] for task in tasks]
        for task in tasks:
            student = task.student.requires_grad_(False)
            students[student.start, student.stop] = student
    return [jump_of(plan) for plan in plans]


@dataclass(frozen=True, eq=False)
class Work:
    """The students of one strategy, on their way."""

    rounds: Rounds
    updates: int
    """Gradient steps of each merge."""


def train_in_rounds(
    works: Mapping[str, Work],
    train: Callable[[Mapping[str, list[Group]], int], Mapping[str, str]],
) -> Iterator[tuple[str, list[Jump] | str]]:
    """Train works side by side; name and students of each as soon as it is finished.

    Args:
        train: Called with ready groups of some works and the gradient steps that each of these
            groups takes. Trains them in place and returns, for each work that diverged, why.

    Yields:
        Name of a work, and its students or why it diverged. The other works go on.
    """
    ready: dict[str, list[Group]] = {}

    def go_on(names: Iterable[str]) -> Iterator[tuple[str, list[Jump]]]:
        for name in names:
            try:
                ready[name] = next(works[name].rounds)
            except StopIteration as end:
                yield name, end.value

    yield from go_on(works)
    while ready:
        steps = {name: works[name].updates * len(groups[0]) for name, groups in ready.items()}
        counts: Counter[int] = Counter()
        for name, groups in ready.items():
            counts[steps[name]] += len(groups)
        chosen = max(counts, key=counts.__getitem__)
        together = {name: ready.pop(name) for name, own in steps.items() if own == chosen}
        diverged = train(together, chosen)
        yield from diverged.items()
        yield from go_on(name for name in together if name not in diverged)


def apply_jumps(jumps: Sequence[nn.Module], x: Tensor) -> Tensor:
    """One jump after another, noisiest first, (S, B, d) -> (S, B, d)."""
    for jump in jumps:
        x = jump(x)
    return x


def fit(
    groups: Sequence[Group],
    updates: int,
    loss: Loss,
    optimizer_name: OptimizerName,
    lr: float,
    on_update: Callable[[Sequence[Task]], object],
) -> list[str]:
    """Regress students onto their parts in place, the groups side by side.

        loss of a member = mean over its batch of weight * |student(x) - parts(x)|**2

    Args:
        groups: The tasks of a group take turns, again and again.
        updates: Gradient steps of each group.
        lr: Constant for SGD; for Adam the first learning rate of a straight line to 0.
        on_update: Called after every gradient step with the task of each group.

    Returns:
        For each group the merge, the update and the learning rate at which its loss or a weight
        stopped being finite, or an empty string.
    """
    num_turns = math.lcm(*map(len, groups))
    turns = [[tasks[turn % len(tasks)] for tasks in groups] for turn in range(num_turns)]
    trained = _side_by_side(turns)
    optimizer = make_optimizer(optimizer_name, trained[0].student.parameters(), lr)
    losses = []
    for update in range(updates):
        task = trained[update % len(turns)]
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
        on_update(turns[update % len(turns)])
    if len(groups) > 1:
        trained[0].student.learner.give_back([task.student.learner for task in turns[0]])
    return _divergences(groups, losses, lr)


def make_optimizer(
    name: OptimizerName, parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """Adam or plain gradient descent over those parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if name == "adam":
        return torch.optim.Adam(trained, lr=lr, fused=True)
    return torch.optim.SGD(trained, lr=lr)


class _OnMembers(nn.Module):
    """A jump of some members of a batch; the others stay where they are."""

    def __init__(self, jump: Jump, members: Tensor) -> None:
        super().__init__()
        self.jump, self.members = jump, members

    def forward(self, x: Tensor) -> Tensor:
        """(S, B, d) -> (S, B, d)."""
        return x.index_copy(0, self.members, self.jump(x[self.members]))


def _side_by_side(turns: Sequence[Sequence[Task]]) -> list[Task]:
    """One task per turn, whose students are all those of the turn; all turns train one network."""
    if len(turns[0]) == 1:
        return [task for (task,) in turns]
    together = [_one_task(tasks) for tasks in turns]
    for later in together[1:]:
        later.student.learner.share_weights(together[0].student.learner)
    return together


def _one_task(tasks: Sequence[Task]) -> Task:
    """The tasks as one, whose members are those of all tasks, one task after another."""
    student = type(tasks[0].student).beside([task.student for task in tasks])
    count = tasks[0].student.learner.count
    members = torch.arange(len(tasks) * count, device=next(student.parameters()).device)
    parts: list[nn.Module] = []
    for place in range(max(len(task.parts) for task in tasks)):
        have = [number for number, task in enumerate(tasks) if place < len(task.parts)]
        jumps: list[Jump] = []
        for number in have:
            part = tasks[number].parts[place]
            assert isinstance(part, Jump)  # only the parts of what is built here are none
            jumps.append(part)
        jump = type(jumps[0]).beside(jumps)
        own = members.unflatten(0, (len(tasks), count))[have].flatten()
        parts.append(jump if len(have) == len(tasks) else _OnMembers(jump, own))
    return Task(student, parts, lambda: torch.cat([task.draw_inputs() for task in tasks]))


def _divergences(groups: Sequence[Group], losses: list[Tensor], lr: float) -> list[str]:
    """Why each group diverged, or an empty string.

    Args:
        losses: Of each update those of all members, (S * groups,).
    """
    weights = [
        torch.stack([weight.isfinite().all() for weight in tasks[0].student.parameters()]).all()
        for tasks in groups
    ]
    finite = torch.stack(weights)[None]  # (1, groups)
    if losses:
        of_losses = torch.stack(losses).isfinite().unflatten(1, (len(groups), -1)).all(dim=2)
        finite = torch.cat([of_losses, finite])
    reasons = []
    for tasks, own in zip(groups, finite.T.tolist(), strict=True):  # one wait for a GPU
        if all(own):
            reasons.append("")
            continue
        update = min(own.index(False), len(losses) - 1)
        student = tasks[update % len(tasks)].student
        reasons.append(
            f"the merge x_{student.start} -> x_{student.stop} diverged at update {update + 1} "
            f"with learning rate {lr:g}"
        )
    return reasons
