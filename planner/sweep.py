"""All strategies over many variances at once, beside the optimum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from planner.problem import pose
from planner.search import optimal_values
from planner.strategies import CANONICAL
from planner.value import plan_operator

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Operators of one-coordinate students; every array has shape (n,), a place a variance."""

    num_steps: int
    train_time: float
    variances: Array
    surrogate: Array
    optimum: Array
    canonical: dict[str, Array]

    def w2_squared(self, operator: Array) -> Array:
        """Squared distance of each variance's student to its surrogate, (n,)."""
        return np.square(self.surrogate - operator)

    def gap(self, name: str) -> Array:
        """W2**2 of a canonical strategy above the optimum's, (n,).

        The difference of the two squares as a product, so that small gaps keep their digits.
        """
        operator = self.canonical[name]
        return (self.optimum - operator) * (2.0 * self.surrogate - operator - self.optimum)


def sweep(schedule: NoiseSchedule, variances: Array, train_time: float) -> Sweep:
    """Full search for every variance, and the four canonical strategies."""
    problem = pose(schedule, variances).with_training(train_time)
    operators, shrinkage = problem.operators, problem.shrinkage
    return Sweep(
        num_steps=problem.num_steps,
        train_time=train_time,
        variances=variances,
        surrogate=problem.surrogate,
        optimum=optimal_values(operators, shrinkage, variances, full_search=True),
        canonical={
            name: plan_operator(make(problem.num_steps), operators, shrinkage)
            for name, make in CANONICAL.items()
        },
    )
