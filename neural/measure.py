"""How far students are from their teacher: paired error, its two parts, and sliced W2."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sampling.wasserstein import random_directions, sliced_w2_squared

NUM_DIRECTIONS = 64


@dataclass(frozen=True, eq=False)
class Scores:
    """Measures of S students, (S,) float64 each, divided by the total variance of the teacher."""

    error: Tensor
    """E|student - teacher|**2 over shared noise."""
    linear: Tensor
    """The part of the error that an affine function of the initial noise explains."""
    nonlinear: Tensor
    """The rest of the error."""
    sliced_w2: Tensor
    """Squared sliced W2 between the outputs of students and teachers for the same noise."""


MEASURES = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True, eq=False)
class Reference:
    """The noise that students are measured on, and the outputs of their teachers for it."""

    noise: Tensor
    """Initial noise x_T, (N, d)."""
    outputs: Tensor
    """Each member's teacher on that noise, (S, N, d)."""

    def inputs(self) -> Tensor:
        """The same noise for every member, (S, N, d)."""
        return self.noise.expand(len(self.outputs), -1, -1)


def score(reference: Reference, outputs: Tensor) -> Scores:
    """Measure students by their outputs on the reference's noise, (S, N, d)."""
    teachers = reference.outputs.double()
    spread = teachers.var(dim=1, correction=0).sum(dim=1)  # (S,)
    gap = outputs.double() - teachers
    linear, nonlinear = affine_parts(gap, reference.noise)
    directions = random_directions(NUM_DIRECTIONS, gap.shape[2], seed=0)
    pairs = zip(outputs.cpu().float(), reference.outputs.cpu().float(), strict=True)
    distances = [
        sliced_w2_squared(student, teacher, directions).mean().double()
        for student, teacher in pairs
    ]
    return Scores(
        error=(gap.square().sum(dim=2).mean(dim=1) / spread).cpu(),
        linear=(linear / spread).cpu(),
        nonlinear=(nonlinear / spread).cpu(),
        sliced_w2=torch.stack(distances) / spread.cpu(),
    )


def affine_parts(values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squares of values' least-squares affine fit to the noise and of its rest, (S,) each.

    Args:
        values: (S, N, d).
        noise: (N, d).
    """
    noise = noise.double()
    design = torch.cat([noise, torch.ones_like(noise[:, :1])], dim=1)  # (N, d + 1)
    solution = torch.linalg.lstsq(design.expand(len(values), -1, -1), values).solution
    fit = design @ solution
    return tuple(part.square().sum(dim=2).mean(dim=1) for part in (fit, values - fit))
