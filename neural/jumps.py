"""Jumps x_start -> x_stop of networks: teacher steps, and students in two parametrisations.

    denoiser   x_u = r x_b + k xhat(x_b),  r = sigma_u / sigma_b,  k = alpha_u - r alpha_b
    operator   x_u = (the frozen teacher step x_b -> x_{b-1}) + head(x_b)

with b = start and u = stop. The first is the formula of DDIM (Song et al. 2021, arXiv:2010.02502,
eq. 12); a merged student starts from the longer jump with its noisiest part's xhat. The second is
the one of [OM]: a merged student starts from the very map of its noisiest part.
"""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from diffusion.schedule import NoiseSchedule
from neural.networks import Level, X0Network, per_member
from planner.parametrisation import ddim_coefficients

Parametrisation = Literal["denoiser", "operator"]
Loss = Literal["x_0", "z"]


class Jump(nn.Module):
    """x_start -> x_stop for S members, (S, B, d) both."""

    def __init__(self, schedule: NoiseSchedule, start: int, stop: int) -> None:
        super().__init__()
        self.schedule, self.start, self.stop = schedule, start, stop
        self.alpha: Level = float(schedule.alpha[start])
        self.sigma: Level = float(schedule.sigma[start])

    @property
    def learner(self) -> X0Network:
        """The network that a student of this jump trains."""
        raise NotImplementedError

    @classmethod
    def beside(cls, jumps: Sequence[Self]) -> Self:
        """Copies of several jumps as one, (S * jumps, B, d) both, one jump after another.

        Its ``start`` and ``stop`` are those of the first jump and say nothing.
        """
        raise NotImplementedError

    def merged(self, stop: int) -> Self:
        """A student for x_start -> x_stop that begins as this jump, its noisiest part, says."""
        raise NotImplementedError

    def loss_weight(self, loss: Loss) -> Level:
        """What the squared error of x_stop is multiplied with, a number or (S,)."""
        raise NotImplementedError

    def first_member(self) -> Self:
        """A copy of the first member's jump, (1, B, d) -> (1, B, d)."""
        raise NotImplementedError


class DenoiserJump(Jump):
    """The DDIM jump with a network's estimate of x_0."""

    def __init__(self, network: X0Network, schedule: NoiseSchedule, start: int, stop: int) -> None:
        super().__init__(schedule, start, stop)
        self.network = network
        ratio, factor = ddim_coefficients(schedule)
        self.ratio: Level = float(ratio[start, stop])
        self.factor: Level = float(factor[start, stop])

    @property
    def learner(self) -> X0Network:
        """The network."""
        return self.network

    @classmethod
    def beside(cls, jumps: Sequence[Self]) -> Self:
        """Copies of several jumps as one, (S * jumps, B, d) both, one jump after another."""
        first, networks = jumps[0], [jump.network for jump in jumps]
        network = type(first.network).beside(networks)
        together = cls(network, first.schedule, first.start, first.stop)
        for name in ("alpha", "sigma", "ratio", "factor"):
            levels = [getattr(jump, name) for jump in jumps]
            setattr(together, name, per_member(levels, networks))
        return together

    def forward(self, x_start: Tensor) -> Tensor:
        """(S, B, d) -> (S, B, d)."""
        x_0: Tensor = self.network(x_start, self.alpha, self.sigma)
        return self.ratio * x_start + self.factor * x_0

    def merged(self, stop: int) -> Self:
        """The long jump with a trainable copy of this network."""
        return type(self)(self.network.trainable_copy(), self.schedule, self.start, stop)

    def loss_weight(self, loss: Loss) -> Level:
        """1 for z; 1 / k**2 for x_0: |xhat - (target - r x) / k|**2 = |jump - target|**2 / k**2."""
        if loss == "z":
            return 1.0
        weight = 1.0 / self.factor**2
        return weight.flatten() if isinstance(weight, Tensor) else weight

    def first_member(self) -> Self:
        """A copy of the first member's jump, (1, B, d) -> (1, B, d)."""
        return type(self)(self.network.first_member(), self.schedule, self.start, self.stop)


class OperatorJump(Jump):
    """A frozen teacher step, and a head that adds what the longer jump needs."""

    def __init__(self, step: DenoiserJump, head: X0Network, stop: int) -> None:
        super().__init__(step.schedule, step.start, stop)
        self.alpha, self.sigma = step.alpha, step.sigma
        self.step, self.head = step.requires_grad_(False), head

    @property
    def learner(self) -> X0Network:
        """The head."""
        return self.head

    @classmethod
    def beside(cls, jumps: Sequence[Self]) -> Self:
        """Copies of several jumps as one, (S * jumps, B, d) both, one jump after another."""
        step = DenoiserJump.beside([jump.step for jump in jumps])
        head = type(jumps[0].head).beside([jump.head for jump in jumps])
        return cls(step, head, jumps[0].stop)

    def forward(self, x_start: Tensor) -> Tensor:
        """(S, B, d) -> (S, B, d)."""
        with torch.no_grad():
            x_stop = self.step(x_start)
        added: Tensor = self.head(x_start, self.alpha, self.sigma)
        return x_stop + added

    def merged(self, stop: int) -> Self:
        """The same map, with a trainable copy of the head."""
        return type(self)(self.step, self.head.trainable_copy(), stop)

    def loss_weight(self, loss: Loss) -> Level:
        """1: the head is added to x_stop itself, so there is no loss on an estimate of x_0."""
        return 1.0

    def first_member(self) -> Self:
        """A copy of the first member's jump, (1, B, d) -> (1, B, d)."""
        return type(self)(self.step.first_member(), self.head.first_member(), self.stop)


def teacher_step(
    teacher: X0Network, schedule: NoiseSchedule, t: int, parametrisation: Parametrisation
) -> Jump:
    """The teacher's step x_t -> x_{t-1}, from which students of that parametrisation begin."""
    step = DenoiserJump(teacher, schedule, t, t - 1)
    if parametrisation == "denoiser":
        return step
    return OperatorJump(step, teacher.with_zero_output(), t - 1)
