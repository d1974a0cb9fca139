"""Which joint solvers run, for how long at most, and how long each is expected to take."""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.beam import MOST_COORDINATES
from planner.budget import Budget
from planner.greedy import greedy_bytes
from planner.joint import SOLVERS
from planner.problem import Problem

MOST_SECONDS = 60.0
"""Expected seconds above which a solver is left out, unless a time limit is given."""
MOST_BYTES = 4 << 30
"""Memory of Algorithm 1 above which the solvers that need it are left out."""
MOST_PARETO_WIDTH = 6
"""Coordinates above which the exact joint solver is left out: hardly a candidate is dominated."""

# Seconds measured on one core of an AMD EPYC, where plans are searched in Python: per split of a
# block or per cut of a chain, and per number of a candidate. The beam takes some three rounds, and
# of its 16 directions about half have candidates of their own.
SECONDS_PER_PASS = 1e-5
SECONDS_PER_NUMBER = 1.25e-9
GREEDY_SECONDS_PER_NUMBER = 1e-9
BEAM_ROUNDS = 3
BEAM_KEPT = 8


@dataclass(frozen=True)
class Effort:
    """What may be spent on plans for all coordinates; other plans take little time."""

    solvers: Sequence[str] = SOLVERS
    """The joint solvers that run."""
    time_limit: float | None = None
    """Seconds per solver, after which it gives its best plan so far. Without a limit, solvers that
    would take longer than ``MOST_SECONDS`` are left out."""


ALL_SOLVERS = Effort()


def refuse_solver(solver: str, problem: Problem, budget: Budget, effort: Effort) -> None:
    """Refuse a joint solver that cannot plan for the budget, or would take too much.

    Raises:
        ValueError: with the reason.
    """
    num_steps, width = problem.num_steps, len(problem.variances)
    if solver == "pareto" and budget.kind == "total":
        raise ValueError("its fronts do not count merges, which a total budget depends on")
    if solver == "pareto" and width > MOST_PARETO_WIDTH:
        raise ValueError(f"{width} coordinates are more than {MOST_PARETO_WIDTH}")
    seconds = expected_seconds(solver, problem, budget)
    if effort.time_limit is None and seconds > MOST_SECONDS:
        raise ValueError(
            f"it would take about {seconds:.0f} s, more than {MOST_SECONDS:.0f} s; a time limit "
            "lets it run (plan_merges --time-limit)"
        )
    size = greedy_bytes(num_steps, width)
    if problem.parametrisation.kind == "operator" and solver != "pareto" and size > MOST_BYTES:
        raise ValueError(
            f"it would take {size / 1e9:.1f} GB of memory, more than {MOST_BYTES / 1e9:.1f} GB; "
            "plan fewer steps or coordinates"
        )


def expected_seconds(solver: str, problem: Problem, budget: Budget) -> float:
    """About how long ``solver`` takes on one core; ``pareto`` takes at least that long."""
    num_steps, width = problem.num_steps, len(problem.variances)
    if problem.parametrisation.kind == "operator":
        passes = (num_steps**3 - num_steps) // 6
        greedy = GREEDY_SECONDS_PER_NUMBER * passes * width
        searched = min(width, MOST_COORDINATES)
        beam = passes * (SECONDS_PER_PASS + SECONDS_PER_NUMBER * BEAM_KEPT**2 * searched)
    else:
        passes = (num_steps**2 - num_steps) // 2
        greedy = passes * (SECONDS_PER_PASS + SECONDS_PER_NUMBER * width)
        beam = passes * (SECONDS_PER_PASS + SECONDS_PER_NUMBER * BEAM_KEPT * width)
    runs: int = len(budget.merge_counts(num_steps))
    if solver == "greedy":
        return runs * greedy
    if solver == "beam":
        return runs * (greedy + BEAM_ROUNDS * beam)
    return runs * SECONDS_PER_PASS * passes
