"""The optimal strategy as a function of the variance, and the variances where it changes.

``sweep`` compares the canonical strategies with the optimum over many variances. The optimal
strategy for operators is BOOT up to variance 1, consistency from there to lam_C, and vanilla from
lam0* on; in between, the optimum is a hybrid of them. Denoisers have other regimes
(``planner.denoiser``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from planner.denoiser import best_values
from planner.parametrisation import OPERATOR, Parametrisation
from planner.per_dimension import optimal_values
from planner.problem import DenoiserProblem, make_problem
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING

Array = NDArray[np.float64]

SEARCH_GRID = 33
"""Variances tried at once in the search for lam_C."""
SEARCH_ROUNDS = 8
"""Rounds of that search; each divides the interval by 32."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Operators of students of one coordinate, for n variances; every array has shape (n,)."""

    num_steps: int
    train_time: float
    variances: Array
    target: Array
    """Surrogate for operators, composite for denoisers."""
    optimum: Array
    """Operators under the optimal plan of each variance."""
    canonical: dict[str, Array]
    """Strategy -> operators."""

    def w2_squared(self, operator: Array) -> Array:
        """Squared distance of each variance's student to its target, (n,)."""
        return np.square(self.target - operator)

    def gap(self, name: str) -> Array:
        """W2**2 of a canonical strategy above the optimum's, (n,).

        The difference of the two squares is computed as a product, so small gaps keep their digits.
        """
        operator = self.canonical[name]
        return (self.optimum - operator) * (2.0 * self.target - operator - self.optimum)


def sweep(
    schedule: NoiseSchedule,
    variances: Array,
    train_time: float,
    parametrisation: Parametrisation = OPERATOR,
) -> Sweep:
    """The optimum, by full search, and the four canonical strategies at each variance, (n,)."""
    problem = make_problem(schedule, variances, parametrisation)
    trained = problem.trained(train_time)
    if isinstance(trained, DenoiserProblem):
        optimum = best_values(trained)
    else:
        optimum = optimal_values(trained, full_search=True)
    return Sweep(
        num_steps=problem.num_steps,
        train_time=train_time,
        variances=variances,
        target=problem.target,
        optimum=optimum,
        canonical={
            name: trained.student_operator(make(problem.num_steps))
            for name, make in CANONICAL.items()
        },
    )


def gaps(schedule: NoiseSchedule, variances: Array, train_time: float) -> dict[str, Array]:
    """Strategy -> distance of its operator to the optimal one, relative to the latter, (n,).

    Students are operators. A strategy is optimal where the distance is at most
    ``planner.value.OPERATOR_ROUNDING``.
    """
    swept = sweep(schedule, variances, train_time)
    scale = np.maximum(swept.optimum, np.finfo(float).tiny)  # lam = 0 and T = 1 give exactly 0
    return {
        name: np.abs(operator - swept.optimum) / scale for name, operator in swept.canonical.items()
    }


def vanilla_threshold(schedule: NoiseSchedule) -> float:
    """lam0*: the least variance above 1 from which no step t < T contracts.

        lam0* = max over t < T of lam0(t),  A_t = 1 at lam0(t):
        lam0(t) = sigma_t (alpha_{t-1} + alpha_t) / (alpha_t (sigma_{t-1} + sigma_t))

    [OM] eq. 64 and Theorem 4.2. A_t = 1 is solved with alpha**2 + sigma**2 = 1, which avoids the
    differences of neighbours. Vanilla is optimal from lam0* on, for any schedule. On the cosine
    schedule lam0* = 2 / (1 - tan(pi/4T)**2) for T >= 2, and vanilla is optimal nowhere between 1
    and lam0*. With T = 1 there is only one plan, and lam0* is 1.
    """
    alpha, sigma = schedule.alpha[:-1], schedule.sigma[:-1]  # t = 0..T-1
    lam = sigma[1:] * (alpha[:-1] + alpha[1:]) / (alpha[1:] * (sigma[:-1] + sigma[1:]))
    return float(lam.max(initial=1.0))


def consistency_threshold(schedule: NoiseSchedule, train_time: float) -> float:
    """lam_C: sequential consistency is optimal, within tolerance, on (1, lam_C].

    A grid is narrowed around the first variance where consistency is not optimal. Where there is
    none below lam0*, lam_C is infinite, as for T <= 2, where all strategies are one plan.
    """
    low, high = 1.0 + 1e-9, vanilla_threshold(schedule)
    for _ in range(SEARCH_ROUNDS):
        grid = np.linspace(low, high, SEARCH_GRID)
        fails = gaps(schedule, grid, train_time)["sequential_consistency"] > OPERATOR_ROUNDING
        if not fails.any():
            return np.inf
        first = int(np.argmax(fails))
        if first == 0:
            return 1.0
        low, high = grid[first - 1], grid[first]
    return float(low)


HYBRID, TIE = "hybrid", "tie"


def plan_kinds(canonical: Mapping[str, Array], optimum: Array) -> NDArray[np.str_]:
    """The one strategy that equals the optimum of each coordinate within rounding, (d,).

    Strategies are compared by value, not by shape, because plans of different shape may have equal
    values: the kind is ``tie`` where several strategies equal the optimum, and ``hybrid`` where
    none does.

    Args:
        canonical: Strategy -> operator of its student, (d,).
        optimum: Operator of the optimal plan of each coordinate, (d,).
    """
    scale = np.maximum(np.abs(optimum), np.finfo(float).tiny)
    close = [np.abs(value - optimum) <= OPERATOR_ROUNDING * scale for value in canonical.values()]
    matches = np.stack(close)
    count = matches.sum(axis=0)
    single = np.array(list(canonical))[matches.argmax(axis=0)]
    return np.where(count == 0, HYBRID, np.where(count > 1, TIE, single))
