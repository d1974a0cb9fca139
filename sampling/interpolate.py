"""Between two noises: points on the arc of a great circle, which are noise again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from experiment.seeds import walk_noise


def arc(first: Tensor, last: Tensor, weights: Tensor) -> Tensor:
    """Spherical interpolation between two arrays, over their last axis, (W, ...).

        x(w) = (sin((1 - w) angle) first + sin(w angle) last) / sin(angle)

    Shoemake 1985, "Animating rotation with quaternion curves", sec. 3.3. The angle is that between
    the two vectors. Of two independent draws from N(0, I) in d dimensions it is nearly pi / 2, and
    then x(w) is nearly a draw from N(0, I), which a straight line's points are not.

    Args:
        first, last: Vectors (..., d), of which no pair is parallel.
        weights: w in [0, 1], (W,).
    """
    a, b = first.double(), last.double()
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    angle = torch.arccos(cosine.clamp(-1.0, 1.0)).unsqueeze(-1)  # (..., 1)
    w = weights.double().reshape(-1, *[1] * a.ndim)
    between = (torch.sin((1.0 - w) * angle) * a + torch.sin(w * angle) * b) / torch.sin(angle)
    return between.to(first.dtype)


def arc_noise(
    ends: Sequence[int], count: int, num_steps: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise of ``count`` walks between those of two seeds.

    Returns:
        The weights (count,), initial noise (count, width), and each step's noise
        (num_steps, count, width), which is interpolated in the same way.
    """
    start, steps = walk_noise(ends, num_steps, width)
    weights = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
    between = arc(steps[:, 0], steps[:, 1], weights)  # (count, num_steps, width)
    return weights, arc(start[0], start[1], weights), between.transpose(0, 1).contiguous()
