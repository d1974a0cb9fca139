"""One student for all merges of a plan: a network that takes both times of its jump as inputs.

As in progressive distillation and consistency models, there is one network. The merges of a round
do not need each other, so they train it together; their targets come from the teacher and from the
network as it was when the round began. What a later round does not train on may be forgotten.
"""

import copy
from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from diffusion.schedule import NoiseSchedule
from neural.distil import Batches, Rounds, Task, merges_in_rounds
from neural.jumps import DenoiserJump, Jump
from neural.networks import FREQUENCIES, Level, MLPs, X0Network, level_features, per_member
from planner.plan import Plan


class SharedStudent(nn.Module):
    """A copy of the teachers that also sees where a jump leads; at first it does not care."""

    def __init__(self, teachers: MLPs) -> None:
        super().__init__()
        self.network = teachers.trainable_copy()
        first = teachers.biases[0]
        # Weights of the target's level, (S, 8, width), begin at 0: every jump then begins with the
        # teacher's x_0.
        self.of_target = nn.Parameter(first.new_zeros(len(first), 2 * FREQUENCIES, first.shape[2]))


class TowardsTarget(X0Network):
    """A shared student's estimate of x_0 for jumps to one target level."""

    def __init__(self, shared: SharedStudent, alpha: Level, sigma: Level) -> None:
        super().__init__()
        self.shared, self.alpha, self.sigma = shared, alpha, sigma

    def forward(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """x_t (S, B, d) -> estimate of x_0, (S, B, d)."""
        target = level_features(self.alpha, self.sigma, x_t) @ self.shared.of_target
        x_0: Tensor = self.shared.network(x_t, alpha, sigma, shift=target)
        return x_0

    def first_member(self) -> Self:
        """A copy of the first member alone."""
        alone = copy.deepcopy(self)
        alone.shared.network = self.shared.network.first_member()
        alone.shared.of_target = nn.Parameter(self.shared.of_target[:1].clone())
        return alone

    @classmethod
    def beside(cls, networks: Sequence[Self]) -> X0Network:
        """Copies of all members of several networks as one network, one network after another."""
        together = super().beside(networks)
        assert isinstance(together, cls)
        together.alpha = per_member([one.alpha for one in networks], networks)
        together.sigma = per_member([one.sigma for one in networks], networks)
        return together

    def share_weights(self, other: Self) -> None:
        """Train the shared student of ``other`` in place of this one."""
        self.shared = other.shared


def distil_shared(
    plans: Sequence[Plan], teachers: MLPs, schedule: NoiseSchedule, batches: Batches
) -> Rounds:
    """One shared student that all ``plans``, noisiest first, train; its jumps in the end."""
    student, unchanged = SharedStudent(teachers), SharedStudent(teachers).requires_grad_(False)

    def jump(part: Plan, network: SharedStudent) -> Jump:
        network = network if part.parts else unchanged
        alpha, sigma = float(schedule.alpha[part.stop]), float(schedule.sigma[part.stop])
        towards = TowardsTarget(network, alpha, sigma)
        return DenoiserJump(towards, schedule, part.start, part.stop)

    for ready in merges_in_rounds(plans):
        before = copy.deepcopy(student).requires_grad_(False)
        tasks = []
        for merge in ready:
            inputs = batches(merge.start, merge.stop)
            parts = [jump(part, before) for part in merge.parts]
            tasks.append(Task(jump(merge, student), parts, inputs.__next__))
        yield [tasks]
    student.requires_grad_(False)
    return [jump(plan, student) for plan in plans]
