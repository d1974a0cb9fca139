"""What linear theory predicts for a plan: the error that training leaves, in closed form.

With r and k of the DDIM jump b -> u, parts p_1 (noisiest), p_2, ... and one coordinate,

    denoiser   c = (p_1 - r(b, m)) / k(b, m),  J = r(b, u) + k(b, u) c,   m = stop of p_1
    operator   J = p_1
    value = target + g (J - target),  target = p_1 p_2 ...,  g = exp(-2 s n_b w)     gradient flow
    value = J + clip(target - J, -s k, s k)                                          constant speed

J is where a merge starts, g what gradient flow leaves of the way, and Adam moves the coefficient c
at a constant speed. The weight w depends on what a network says and where its loss is taken:
w = 1 for x_0 and operator, k**2 for z, and sigma_b**2 times that where v is predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators, noised_variances
from diffusion.schedule import NoiseSchedule
from planner.plan import Plan, merges

Array = NDArray[np.float64]

SMALLEST, LARGEST = 1e-9, 1e9  # training times between which a fit looks
BISECTIONS = 100


@dataclass(frozen=True, eq=False)
class Law:
    """How linear students of d coordinates train."""

    schedule: NoiseSchedule
    variances: Array
    """lambda, (d,)."""
    parametrisation: Literal["denoiser", "operator"]
    loss: Literal["x_0", "z"]
    prediction: Literal["x_0", "v", "eps"]
    optimizer: Literal["adam", "sgd"]
    """sgd follows gradient flow; adam moves at constant speed, for denoiser only."""

    @property
    def is_known(self) -> bool:
        """Whether there is a law: none is for Adam under operator."""
        return self.optimizer == "sgd" or self.parametrisation == "denoiser"

    def error(self, plans: Sequence[Plan], train_time: float) -> float:
        """Squared error to the teacher over the teacher's variance, of a student of these plans.

        Args:
            train_time: s of every merge.
        """
        operators = ddim_operators(self.schedule, self.variances)
        composite = operators.prod(axis=0)
        student = np.prod([self._value(plan, operators, train_time) for plan in plans], axis=0)
        return float(np.square(student - composite).sum() / np.square(composite).sum())

    def _value(self, plan: Plan, operators: Array, train_time: float) -> Array:
        second_moments = noised_variances(self.schedule, self.variances)
        values: dict[tuple[int, int], Array] = {}
        for merge in merges(plan):
            parts = [
                values.pop((part.start, part.stop)) if part.parts else operators[part.start - 1]
                for part in merge.parts
            ]
            target = np.prod(parts, axis=0)
            ratio, factor = self._jump(merge.start, merge.stop)
            start = parts[0]
            if self.parametrisation == "denoiser":
                own_ratio, own_factor = self._jump(merge.start, merge.parts[0].stop)
                start = ratio + factor * (parts[0] - own_ratio) / own_factor
            if self.optimizer == "adam":
                most = train_time * factor
                value = start + np.clip(target - start, -most, most)
            else:
                rates = second_moments[merge.start - 1] * self._weight(merge.start, factor)
                value = target + np.exp(-2.0 * train_time * rates) * (start - target)
            values[merge.start, merge.stop] = value
        return values[plan.start, plan.stop] if plan.parts else operators[plan.start - 1]

    def _jump(self, start: int, stop: int) -> tuple[float, float]:
        alpha, sigma = self.schedule.alpha, self.schedule.sigma
        ratio = sigma[stop] / sigma[start]
        return float(ratio), float(alpha[stop] - ratio * alpha[start])

    def _weight(self, start: int, factor: float) -> float:
        if self.parametrisation == "operator":
            return 1.0
        weight = 1.0 if self.loss == "x_0" else factor**2
        return weight * float(self.schedule.sigma[start]) ** 2 if self.prediction == "v" else weight


def predict_errors(
    law: Law, plans: Mapping[str, Sequence[Plan]], updates: Mapping[str, int], fitted: float
) -> dict[str, float] | None:
    """Error of every strategy of one cell, with the speed of training fitted on vanilla.

    Args:
        plans: Strategy -> its plans, one per step of the student.
        updates: Strategy -> gradient steps of each of its merges; s is proportional to them.
        fitted: Vanilla's measured error, which the law is made to give.

    Returns:
        None where there is no law, or nothing is merged.
    """
    if not law.is_known or not updates["vanilla"] or not np.isfinite(fitted):
        return None
    low, high = SMALLEST, LARGEST
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        if law.error(plans["vanilla"], middle) > fitted:
            low = middle
        else:
            high = middle
    rate = high / updates["vanilla"]
    return {name: law.error(plans[name], rate * updates[name]) for name in plans}
