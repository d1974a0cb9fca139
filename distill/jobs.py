"""What a comparison trains: its cases, and the jobs that serve them.

A case is a row of the results. A job is training to be done: cases whose plans, gradient steps and
batches are equal, such as BOOT's under both budgets, are one job.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from distill.train import count_fits
from planner.budget import BudgetKind
from planner.plan import Plan, merges, outline, rounds

Plans = tuple[Plan, ...]  # one a coordinate


@dataclass(frozen=True)
class Case:
    """One strategy at one stage of training, under one budget, on one seed's batches."""

    strategy: str
    budget: BudgetKind
    epochs: int  # gradient steps a merge; under "total", of a plan of T - 1 merges
    seed: int

    @property
    def name(self) -> str:
        """For files; those of a stage stand together when sorted."""
        return f"{self.budget}_{self.epochs:05d}_{self.strategy}_seed{self.seed}"


@dataclass(frozen=True, eq=False)
class Job:
    """Students to train: a plan and a number of gradient steps a merge for each coordinate."""

    name: str  # of the first case that it serves
    plans: Plans
    steps: NDArray[np.int64]  # of each merge, (d,)
    seed: int

    @property
    def num_merges(self) -> int:
        """Merges of the coordinate that makes most."""
        return max(_count_merges(plan) for plan in _distinct(self.plans))

    @property
    def num_rounds(self) -> int:
        """Rounds of merges that wait for each other, of the coordinate that has most."""
        return max(len(rounds(plan)) for plan in _distinct(self.plans))

    @property
    def gradient_steps(self) -> int:
        """Gradient steps of all merges together, of the coordinate that takes most."""
        counts = {id(plan): _count_merges(plan) for plan in _distinct(self.plans)}
        pairs = zip(self.plans, self.steps.tolist(), strict=True)
        return max(counts[id(plan)] * steps for plan, steps in pairs)

    def groups(self) -> list[tuple[int, NDArray[np.intp]]]:
        """Gradient steps a merge -> the coordinates that take as many, trained together."""
        return [(int(n), np.flatnonzero(self.steps == n)) for n in np.unique(self.steps)]

    @cached_property
    def num_updates(self) -> int:
        """Gradient steps that training takes one after the other, over all groups."""
        return sum(
            steps * count_fits([self.plans[i] for i in coordinates])
            for steps, coordinates in self.groups()
        )


def list_jobs(
    plans: Mapping[tuple[BudgetKind, int], Mapping[str, Plans]], seeds: Iterable[int]
) -> dict[Case, Job]:
    """Case -> the job that serves it, by seed, then as ``plans`` has them.

    Args:
        plans: (budget, stage) -> strategy -> a plan a coordinate.
    """
    jobs: dict[tuple, Job] = {}
    cases = {}
    for seed in seeds:
        for (budget, epochs), strategies in plans.items():
            for strategy, of_coordinates in strategies.items():
                case = Case(strategy, budget, epochs, seed)
                steps = steps_per_merge(of_coordinates, budget, epochs)
                key = (_outlines(of_coordinates), tuple(steps.tolist()), seed)
                job = Job(case.name, of_coordinates, steps, seed)
                cases[case] = jobs.setdefault(key, job)
    return cases


def steps_per_merge(plans: Sequence[Plan], budget: BudgetKind, epochs: int) -> NDArray[np.int64]:
    """Gradient steps of each merge of each coordinate's plan, (d,).

    Under ``total`` a coordinate has (T - 1) ``epochs`` for its merges to share, so that plans of
    T - 1 merges take as many as under ``per_merge``. What does not divide is left: less than one
    step a merge.
    """
    if budget == "per_merge":
        return np.full(len(plans), epochs)
    counts = {id(plan): _count_merges(plan) for plan in _distinct(plans)}
    total = max(1, plans[0].start - 1) * epochs
    return np.array([total // max(1, counts[id(plan)]) for plan in plans])


def _count_merges(plan: Plan) -> int:
    return sum(1 for _ in merges(plan))


def _distinct(plans: Sequence[Plan]) -> Iterable[Plan]:
    return {id(plan): plan for plan in plans}.values()


def _outlines(plans: Plans) -> tuple:
    outlines = {id(plan): outline(plan) for plan in _distinct(plans)}
    return tuple(outlines[id(plan)] for plan in plans)
