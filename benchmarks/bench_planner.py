"""Time the planner against Algorithm 1 in NumPy, in the same run.

Example:
    python -m benchmarks.bench_planner
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.numpy_planner import best_choices
from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.denoiser import best_chains
from planner.fronts import interval_fronts, nearest_to
from planner.greedy import greedy_fronts, greedy_plan
from planner.joint import plan_jointly
from planner.parametrisation import Parametrisation
from planner.per_dimension import optimal_values, per_dimension_plans, table_bytes
from planner.plan import Plans, num_merges
from planner.problem import DenoiserProblem, MergeProblem, make_problem
from planner.regimes import sweep
from planner.total_bounds import bounded_plans
from planner.total_budget import plans_under_total
from planner.watch import Watch
from report.plot_theory import SWEEPS
from report.theory_figures import VARIANCES
from scripts.cli import main

Result = TypeVar("Result")

TRAIN_TIME = 6.4


@dataclass(frozen=True)
class BenchConfig:
    """What to time."""

    num_steps: int = 512
    """Teacher steps T of the comparison with NumPy."""
    width: int = 128
    """Coordinates d, with variances from 0.05 to 3 in equal ratios."""
    repeats: int = 5
    """Runs of the kernel; the median counts."""
    beam_steps: int = 64
    """Teacher steps T for the beam."""
    joint_steps: int = 128
    """Teacher steps T of the comparison of Algorithm 1 for all coordinates with Python."""
    total_steps: int = 48
    """Teacher steps T of the comparison of bounds with the exact program for a total time."""


def run(config: BenchConfig) -> None:
    """Print one line per claim."""
    print(f"{numba.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} before the run")
    _, first = timed(lambda: plans(posed(4, 2)))
    print(f"compilation, or loading what is cached: {first:.2f} s")

    problem = posed(config.num_steps, config.width)
    splits = (config.num_steps**3 - config.num_steps) / 6 * config.width
    seconds = float(np.median([timed(lambda: plans(problem))[1] for _ in range(config.repeats)]))
    (_, baseline), slow = timed(
        lambda: best_choices(problem.operators, problem.shrinkage, problem.direction)
    )
    best = optimal_values(problem, full_search=True)
    print(
        f"one plan per coordinate, T = {config.num_steps}, d = {config.width}, full search: "
        f"{seconds:.3f} s, {splits / seconds:.2e} splits/s; NumPy {slow:.1f} s; "
        f"ratio {slow / seconds:.1f}; largest difference {np.abs(best - baseline).max():.0e}"
    )

    denoisers = make_problem(
        cosine_schedule(config.num_steps), problem.variances, Parametrisation("denoiser", "z")
    ).trained(TRAIN_TIME)
    assert isinstance(denoisers, DenoiserProblem)
    best_chains(denoisers)
    chains = float(np.median([timed(partial(best_chains, denoisers))[1] for _ in range(5)]))
    print(
        f"the same for denoisers, loss z, all in all: {chains:.3f} s; ratio of the two "
        f"{seconds / chains:.1f}"
    )

    _, seconds = timed(sweeps)
    print(f"sweeps of Figs. 2 and 7 to 12, {len(VARIANCES)} variances each: {seconds:.2f} s")

    long = make_problem(cosine_schedule(4096), np.array([1.5])).with_training(TRAIN_TIME)
    print(f"T = 4096, one variance: {table_bytes(4096, 1) / 1e6:.0f} MB of tables")
    (plan,), seconds = timed(lambda: plans(long))
    print(f"T = 4096, lambda = 1.5: {seconds:.1f} s, {num_merges(plan)} merges")
    settled = make_problem(cosine_schedule(4096), np.array([0.5])).with_training(TRAIN_TIME)
    _, seconds = timed(lambda: per_dimension_plans(settled))
    print(f"T = 4096, lambda = 0.5, settled by theory: {seconds:.3f} s")

    wide = posed(config.beam_steps, config.width)
    found, seconds = timed(lambda: plan_jointly(wide, "beam"))
    print(
        f"beam, T = {config.beam_steps}, d = {config.width}: {seconds:.1f} s, W2**2 "
        f"{found.w2_squared:.6e}, gap to the lower bound {found.gap / found.lower_bound:.1e}"
    )
    compare_greedy(config)
    compare_total(config)


def compare_greedy(config: BenchConfig) -> None:
    """Algorithm 1 for all coordinates, compiled, against the same search over fronts in Python."""
    greedy_fronts(posed(4, 2), Watch())
    for num_steps, width in ((config.joint_steps, 2), (config.joint_steps, config.width)):
        problem = posed(num_steps, width)
        oracle, slow = timed(partial(interval_fronts, problem, nearest_to(problem.surrogate)))
        found, seconds = timed(partial(greedy_fronts, problem, Watch()))
        same = all(np.array_equal(found[block].values, oracle[block].values) for block in oracle)
        print(
            f"greedy, T = {num_steps}, d = {width}: {seconds:.3f} s; in Python {slow:.2f} s; "
            f"ratio {slow / seconds:.0f}; the same bits: {same}"
        )
    for width in (2, config.width):
        problem = posed(1000, width)
        before = time.process_time()
        plan, seconds = timed(partial(greedy_plan, problem, Watch()))
        print(
            f"greedy, T = 1000, d = {width}: {seconds:.1f} s, {time.process_time() - before:.1f} s "
            f"of CPU, {num_merges(plan)} merges"
        )


def compare_total(config: BenchConfig) -> None:
    """Plans for a total time by bounds, against the exact program over numbers of merges."""

    def bounded(num_steps: int) -> Callable[[], tuple[Plans, NDArray[np.float64]]]:
        problem = make_problem(cosine_schedule(num_steps), posed(2, config.width).variances)
        return partial(bounded_plans, problem, problem.second_moments, TRAIN_TIME)

    bounded(8)()
    problem = make_problem(cosine_schedule(config.total_steps), posed(2, config.width).variances)
    exact = partial(
        plans_under_total,
        problem.operators,
        problem.second_moments,
        problem.direction,
        TRAIN_TIME,
    )
    best, slow = timed(exact)
    (found, _), seconds = timed(bounded(config.total_steps))
    total = Budget(TRAIN_TIME, "total")
    gap = np.abs(operator_under(total, best, problem) - operator_under(total, found, problem))
    print(
        f"total time, T = {config.total_steps}, d = {config.width}: {seconds:.2f} s; exact program "
        f"{slow:.1f} s; ratio {slow / seconds:.0f}; largest difference {gap.max():.0e}"
    )
    long = make_problem(cosine_schedule(256), problem.variances)
    before = time.process_time()
    (found, limits), seconds = timed(bounded(256))
    cpu = time.process_time() - before
    reached = operator_under(total, found, long)
    proven = int((np.abs(reached - limits) <= 2e-12 * np.abs(limits)).sum())
    print(
        f"total time, T = 256, d = {config.width}: {seconds:.1f} s, {cpu:.1f} s of CPU, {proven} "
        "plans proven optimal"
    )


def posed(num_steps: int, width: int) -> MergeProblem:
    """The benchmark's problem."""
    return make_problem(cosine_schedule(num_steps), np.geomspace(0.05, 3.0, width)).with_training(
        TRAIN_TIME
    )


def sweeps() -> None:
    """The numbers behind Figs. 2 and 7 to 12."""
    for num_steps, train_time in [(32, TRAIN_TIME), *SWEEPS]:
        sweep(cosine_schedule(num_steps), VARIANCES, train_time)


def plans(problem: MergeProblem) -> Plans:
    """Full search for every coordinate's plan."""
    return per_dimension_plans(problem, full_search=True)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result and its seconds."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
