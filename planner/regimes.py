"""Which strategy is optimal at a variance, and the variances where the answer changes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from planner.per_dimension import optimal_values
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING, plan_operator

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
    problem = make_problem(schedule, variances).with_training(train_time)
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


GRID = 33  # variances tried at once in a search
ROUNDS = 8  # each narrows the search 32 times


@dataclass(frozen=True)
class Regime:
    """The optimal strategies at one variance, and the borders between the regimes."""

    optimal: tuple[str, ...]  # canonical strategies within tolerance; none where a hybrid is best
    consistency_threshold: float  # lam_C
    vanilla_threshold: float  # lam0*


def regime(schedule: NoiseSchedule, variance: float, train_time: float) -> Regime:
    """Which canonical strategies are optimal for one coordinate, and both thresholds."""
    ratios = gaps(schedule, np.array([variance]), train_time)
    return Regime(
        optimal=tuple(name for name, gap in ratios.items() if gap[0] <= OPERATOR_ROUNDING),
        consistency_threshold=consistency_threshold(schedule, train_time),
        vanilla_threshold=vanilla_threshold(schedule),
    )


def gaps(schedule: NoiseSchedule, variances: Array, train_time: float) -> dict[str, Array]:
    """Distance of every canonical strategy's operator to the optimal one, relative to it, (d,)."""
    swept = sweep(schedule, variances, train_time)
    scale = np.maximum(swept.optimum, np.finfo(float).tiny)  # lam = 0 and T = 1 give exactly 0
    return {
        name: np.abs(operator - swept.optimum) / scale for name, operator in swept.canonical.items()
    }


def vanilla_threshold(schedule: NoiseSchedule) -> float:
    """lam0*: the least variance above 1 from which no step t < T contracts.

        lam0* = max over t < T of lam0(t),  A_t = 1 at lam0(t):
        lam0(t) = sigma_t (alpha_{t-1} + alpha_t) / (alpha_t (sigma_{t-1} + sigma_t))

    [OM] eq. 64 and Theorem 4.2; A_t = 1 is solved with alpha**2 + sigma**2 = 1, which spares the
    differences of neighbours. Vanilla is optimal from lam0* on, whatever the schedule. On the
    cosine schedule lam0* = 2 / (1 - tan(pi/4T)**2) for T >= 2, and vanilla is optimal nowhere
    in between. One step leaves nothing to choose: lam0* is 1.
    """
    alpha, sigma = schedule.alpha[:-1], schedule.sigma[:-1]  # t = 0..T-1
    lam = sigma[1:] * (alpha[:-1] + alpha[1:]) / (alpha[1:] * (sigma[:-1] + sigma[1:]))
    return float(lam.max(initial=1.0))


def consistency_threshold(schedule: NoiseSchedule, train_time: float) -> float:
    """lam_C: sequential consistency is optimal, within tolerance, on (1, lam_C].

    Found by narrowing a grid around the first variance where it is not. Infinity where there is
    none below lam0*, as for T <= 2, where all strategies are one plan.
    """
    low, high = 1.0 + 1e-9, vanilla_threshold(schedule)
    for _ in range(ROUNDS):
        grid = np.linspace(low, high, GRID)
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
