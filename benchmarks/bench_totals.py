"""Time planning for a total: students of several steps, and the best split, each by a baseline.

Example:
    python -m benchmarks.bench_totals
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import Plan, num_merges
from planner.problem import Problem, make_problem
from planner.split import best_split, operator_of_split
from planner.strategies import CANONICAL, equal_shares
from planner.total_few_steps import best_students, plans_in_total
from scripts.cli import main

Array = NDArray[np.float64]
Result = TypeVar("Result")


@dataclass(frozen=True)
class BenchConfig:
    """What to time."""

    width: int = 128
    """Coordinates d, with variances from 0.15 to 1.16 in equal ratios, between which those of the
    embedded model's latents lie."""
    train_time: float = 9.92
    """Total training time s: 310 gradient steps at the usual learning rate."""
    split_steps: int = 32
    """Teacher steps T of the plans whose split is sought."""


def run(config: BenchConfig) -> None:
    """Print one line per claim. All seconds are those of the processor, of all threads."""
    for parametrisation in (OPERATOR, Parametrisation("denoiser", "z")):
        posed = partial(pose, config, parametrisation=parametrisation)
        time_students(config, posed)
    for name in ("progressive", "sequential_consistency", "sequential_boot"):
        time_split(config, name)


def pose(config: BenchConfig, num_steps: int, parametrisation: Parametrisation) -> Problem:
    """The benchmark's problem."""
    variances = np.geomspace(0.15, 1.16, config.width)
    return make_problem(cosine_schedule(num_steps), variances, parametrisation)


def time_students(config: BenchConfig, posed: Callable[[int], Problem]) -> None:
    """Students of K steps, against the program for every number of merges without bounds."""
    budget = Budget(config.train_time, "total")
    plans_in_total(posed(8), budget, 2)  # compiles
    for num_steps, student_steps in ((32, 2), (64, 4), (256, 2), (256, 4)):
        problem = posed(num_steps)
        found, seconds = timed(partial(plans_in_total, problem, budget, student_steps))
        assert found is not None
        plans, limits = found
        operator = operator_under(budget, plans, problem)
        proven = int((np.abs(operator - limits) <= 2e-12 * np.abs(limits)).sum())
        line = (
            f"{problem.parametrisation.text}, T = {num_steps}, K = {student_steps}, "
            f"d = {config.width}: {seconds:.2f} s, {proven} plans proven optimal, "
            f"W2**2 {problem.distance(operator, problem.target):.4e}"
        )
        if num_steps <= 64:
            best, slow = timed(partial(every_number, problem, budget, student_steps))
            gap = np.abs(best - operator).max()
            line += (
                f"; every number of merges {slow:.1f} s; ratio {slow / seconds:.0f}; largest "
                f"difference {gap:.0e}"
            )
        print(line)


def every_number(problem: Problem, budget: Budget, student_steps: int) -> Array:
    """The best operators by the program for every number of merges, (d,)."""
    is_operator = problem.parametrisation.kind == "operator"
    direction = problem.direction if is_operator else np.ones(len(problem.variances))
    shares = [problem.section(*span) for span in equal_shares(problem.num_steps, student_steps)]
    found = []
    for count in range(student_steps, problem.num_steps - student_steps + 1):
        trained = [share.trained(budget.time_of_one(count)) for share in shares]
        found.append(best_students(trained, direction, count)[0])
    best: Array = direction * np.max(found, axis=0)
    return best


def time_split(config: BenchConfig, name: str) -> None:
    """The best split of a canonical plan, against SciPy's SLSQP from equal shares."""
    problem = pose(config, config.split_steps, OPERATOR)
    plan, budget = CANONICAL[name](config.split_steps), Budget(config.train_time, "best_split")

    def error(shares: Array) -> float:
        operator = operator_of_split(problem, plan, tuple(shares.tolist()), budget)
        return float(problem.distance(operator, problem.target))

    shares, seconds = timed(partial(best_split, problem, plan, budget))
    rival, slow = timed(partial(by_slsqp, plan, error))
    equal = np.full(num_merges(plan), 1.0 / num_merges(plan))
    print(
        f"best split of {name}, T = {config.split_steps}, d = {config.width}: {seconds:.2f} s, "
        f"W2**2 {error(np.array(shares)):.6e} (equal shares {error(equal):.6e}); SLSQP from equal "
        f"shares {slow:.1f} s, {error(rival):.6e}; ratio {slow / seconds:.1f}"
    )


def by_slsqp(plan: Plan, error: Callable[[Array], float]) -> Array:
    """A split by sequential quadratic programs, with gradients from differences."""
    count = num_merges(plan)
    found: Array = optimize.minimize(
        lambda shares: np.log(error(np.maximum(shares, 0.0))),
        np.full(count, 1.0 / count),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1.0},
        options={"maxiter": 300, "ftol": 1e-10},
    ).x
    return np.maximum(found, 0.0)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result, and the seconds of the processor."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
