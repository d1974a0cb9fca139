"""The command plan_merges: plan every strategy for given variances, or for those of latents.

It imports PyTorch only to read latents.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from diffusion.gaussianity import Gaussianity
from diffusion.schedule_choice import SCHEDULES, choose_schedule, schedule_fingerprint
from distill.config import ROTATION_FILE, PlanConfig
from experiment.flags import refuse_above
from experiment.folder import open_run
from experiment.write import write_json
from planner.budget import Budget, k_suffix, operator_under
from planner.effort import MOST_SECONDS, Effort
from planner.joint import SOLVERS
from planner.per_dimension import few_step_plans
from planner.plan_all import plan_every_strategy
from planner.plan_file import read_plans, to_json
from planner.plan_set import PlanSet
from planner.problem import MergeProblem, Problem, make_problem
from planner.total_bounds import SPLITS_PER_SECOND

DEFAULT_STEPS = 32


@dataclass(frozen=True, eq=False)
class Planned:
    """What ``plan_merges`` found for one number of student steps."""

    plan_set: PlanSet
    free_w2_squared: float | None
    """W2**2 of per-coordinate plans that also divide the teacher's steps as is best; None for
    students of one step, and where it is not computed."""
    gaussianity: Gaussianity | None = None
    """How far the latents are from what is assumed; None for given variances."""
    w2_squared_of_equal_shares: dict[str, float] = field(default_factory=dict)
    """Strategy -> W2**2 of its plans if their merges train equally long, under best_split."""


def plans_name(student_steps: int) -> str:
    """Name of the file with the plans of students of K steps."""
    return f"plans{k_suffix(student_steps)}.json"


def plan_merges(config: PlanConfig, log: Callable[[str], None]) -> list[Planned]:
    """Plan every strategy for each K, and write ``plans.json``, ``plans_K2.json``, ...

    The files are written after every solver. The same command again keeps their plans, and plans
    what is missing.

    Args:
        log: Called with one line per decision of the planner; see ``plan_every_strategy``.

    Raises:
        FileNotFoundError, ValueError: schedule, variances, latents or run folder cannot be used,
            or the student has more steps than the teacher.
    """
    default = DEFAULT_STEPS if config.schedule in SCHEDULES else None
    schedule = choose_schedule(config, config.num_steps or default)
    refuse_above(config, schedule.num_steps, "student_steps")
    fingerprints = schedule_fingerprint(config)
    coordinates = gaussianity = None
    if config.latents is None:
        variances = np.array(config.variances, dtype=np.float64)
    else:
        # They import PyTorch.
        from distill.coordinates import choose_coordinates, save_rotation
        from vae.latents import latents_fingerprint, load_latents

        latents = load_latents(config.latents, log)
        fingerprints["latents"] = latents_fingerprint(latents, config.latents)
        rotation_file = config.out / ROTATION_FILE
        coordinates = choose_coordinates(
            latents,
            config.rotate,
            log,
            kept=(rotation_file, fingerprints["latents"]),
        )
        variances, gaussianity = coordinates.variances, coordinates.gaussianity
        if coordinates.rotation is not None:
            config = replace(config, rotate="on")  # as recorded
    budget = Budget(config.train_time, config.budget)
    problem = make_problem(schedule, variances, config.students)
    open_run(config.out, "plan_merges", config, fingerprints, "cpu")
    if coordinates is not None and coordinates.rotation is not None:
        save_rotation(rotation_file, coordinates, fingerprints["latents"])

    solvers = [solver for solver in SOLVERS if solver in config.solvers]
    found = []
    for steps in config.student_steps:
        path = config.out / plans_name(steps)
        plan_set = plan_every_strategy(
            problem,
            budget,
            full_search=config.full_search,
            log=log,
            student_steps=steps,
            effort=Effort(solvers, config.time_limit),
            known=_known(path, problem, log),
            save=partial(_save, path),
        )
        free = _free_w2_squared(problem, budget, steps, log)
        found.append(Planned(plan_set, free, gaussianity, _in_equal_shares(problem, plan_set)))
    return found


def _in_equal_shares(problem: Problem, plan_set: PlanSet) -> dict[str, float]:
    """W2**2 of plans that have a split, if the merges of each would train equally long instead."""
    equal = Budget(plan_set.train_time, "total")
    return {
        name: float(problem.distance(operator_under(equal, own.plans, problem), problem.target))
        for name, own in plan_set.strategies.items()
        if own.shares is not None
    }


def _known(path: Path, problem: Problem, log: Callable[[str], None]) -> PlanSet | None:
    """The plans of an earlier run of this command, which may have been interrupted."""
    if not path.exists():
        return None
    try:
        found = read_plans(path)
    except ValueError as error:
        log(f"planned again, because {error}")
        return None
    # The variances of rotated latents are computed again, perhaps by another version of LAPACK.
    return found if np.array_equal(found.variances, problem.variances) else None


def _save(path: Path, plan_set: PlanSet) -> None:
    write_json(path, to_json(plan_set))


def _free_w2_squared(
    problem: Problem, budget: Budget, student_steps: int, log: Callable[[str], None]
) -> float | None:
    """W2**2 of operators that train per merge, with the best division into K blocks."""
    trained = problem.trained(budget.train_time)
    if student_steps == 1 or budget.kind != "per_merge" or not isinstance(trained, MergeProblem):
        return None
    num_steps, width = trained.operators.shape
    seconds = (num_steps**3 - num_steps) / 6 * width / SPLITS_PER_SECOND
    if seconds > MOST_SECONDS:
        log(
            f"the best free division into {student_steps} blocks is left out: it would take about "
            f"{seconds:.0f} s"
        )
        return None
    blocks = few_step_plans(trained, student_steps)
    step_by_step = [plan for plans in zip(*blocks, strict=True) for plan in plans]
    return float(problem.distance(operator_under(budget, step_by_step, problem), problem.target))
