"""What a comparison on latents trains: the plans of each stage, cases, and the jobs they need.

A case is one row of the results: a strategy at one stage, on the batches of one seed. A job is one
training. Cases that have the same plans, gradient steps and batches share a job. BOOT, for example,
makes T - 1 merges, so both budgets train it equally long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from distill.law import decay_rates, train_time
from distill.train import count_steps
from planner.budget import Budget, Stage
from planner.plan import Plan, Plans, map_distinct, num_merges, outline, rounds
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet
from planner.problem import Problem


def plan_stage(
    stage: Stage, problem: Problem, lr: float, log: Callable[[str], object] = lambda line: None
) -> PlanSet:
    """The plans that are best for the gradient steps of one stage.

    Under the total budget planning divides the time evenly, while gradient steps are whole: each
    merge trains up to one step less than the time that it was planned for.

    Args:
        log: Called with one line per decision of the planner; see ``plan_every_strategy``.
    """
    budget, steps = stage
    if budget == "total":
        steps *= max(1, problem.num_steps - 1)
    time = Budget(train_time(lr, steps), budget)
    return plan_every_strategy(problem, time, decay_rates(problem.second_moments, lr), log=log)


def steps_per_merge(plans: Sequence[Plan], stage: Stage) -> NDArray[np.int64]:
    """Gradient steps that each merge of each coordinate's plan takes at a stage, (d,).

    Under ``total`` every coordinate has T - 1 times the stage's steps, which the merges of its plan
    share evenly. The remainder of the division, less than one step per merge, is not used.
    """
    if stage.budget == "per_merge":
        return np.full(len(plans), stage.steps_per_merge)
    total = max(1, plans[0].start - 1) * stage.steps_per_merge
    return np.array([total // max(1, count) for count in map_distinct(num_merges, plans)])


@dataclass(frozen=True)
class Case:
    """One strategy at one stage, on the batches of one seed."""

    strategy: str
    stage: Stage
    seed: int

    @property
    def name(self) -> str:
        """The case in names of files; those of one stage stand together when sorted."""
        return f"{self.stage.name}_{self.strategy}_seed{self.seed}"


@dataclass(frozen=True, eq=False)
class Job:
    """One training: a plan for each coordinate, and how long its merges train."""

    name: str
    """Name of the first case that needs the job."""
    plans: Plans
    """One plan per coordinate."""
    steps_per_merge: NDArray[np.int64]
    """Gradient steps of each merge of a coordinate, (d,)."""
    seed: int
    """Seed of the batches."""

    @property
    def num_merges(self) -> int:
        """Merges of the coordinate that makes most."""
        return max(map_distinct(num_merges, self.plans))

    @property
    def num_rounds(self) -> int:
        """Rounds of the coordinate that has most; the merges of a round do not wait for others."""
        return max(len(own) for own in map_distinct(rounds, self.plans))

    @property
    def gradient_steps(self) -> int:
        """Gradient steps over all merges of one coordinate, of the coordinate that takes most."""
        counts = map_distinct(num_merges, self.plans)
        pairs = zip(counts, self.steps_per_merge.tolist(), strict=True)
        return max(count * steps for count, steps in pairs)

    @cached_property
    def sequential_steps(self) -> int:
        """Gradient steps that the training takes one after the other: its duration."""
        return count_steps(self.plans, self.steps_per_merge)


def list_jobs(plans: Mapping[Stage, Mapping[str, Plans]], seeds: Iterable[int]) -> dict[Case, Job]:
    """Every case with the job that it needs, by seed, then in the order of ``plans``.

    Args:
        plans: Stage -> strategy -> one plan per coordinate.
    """
    jobs: dict[tuple, Job] = {}
    cases = {}
    for seed in seeds:
        for stage, strategies in plans.items():
            for strategy, own in strategies.items():
                case = Case(strategy, stage, seed)
                steps = steps_per_merge(own, stage)
                same_work = (*map_distinct(outline, own), *steps.tolist(), seed)
                cases[case] = jobs.setdefault(same_work, Job(case.name, own, steps, seed))
    return cases
