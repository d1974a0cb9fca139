"""What a comparison on latents trains, and the two engines that train it.

A case is one row of the results: a strategy at one stage, on the batches of one seed. A job is one
training. Cases that have the same plans, gradient steps and batches share a job. BOOT, for example,
makes T - 1 merges, so both budgets train it equally long. ``do_job`` does a job by an engine:

    sgd          takes every gradient step, in float32.
    closed_form  takes none. The student is diagonal, so a batch enters only by its mean square

                 m = mean of x_start**2, the squared inputs of the merge. With one fixed batch
                 per time, n gradient steps leave the share

                     g = (1 - 2 lr |emb|**2 m)**n                              (distill.law)

                 of the distance to the target. So this engine draws the batches that ``sgd`` would
                 train on, takes their mean squares, and evaluates the recursion of [OM] eq. 16
                 with these g, all in float64. The engines differ only by the rounding of float32.

Both engines also report what such training runs give (``distill.law``): the closed form at the
expected mean squares, and the operators of ``SIMULATED_RUNS`` simulated runs.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.schedule import TeacherSchedule
from distill.config import RECORDED_ENGINE, Engine
from distill.coordinates import centred_rows, load_rotation
from distill.inputs import Inputs, gaussian_inputs, latent_inputs, mean_squares
from distill.law import decay_rates, operators_after, simulate_operators, train_time
from distill.train import count_steps, same_steps, train_students
from experiment.device import pick_device
from planner.budget import (
    Budget,
    BudgetKind,
    MergeSteps,
    Shares,
    Stage,
    equal_parts,
    whole_parts,
)
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import Plan, Plans, map_distinct, num_merges, outline, rounds
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet, StrategyPlans
from planner.problem import Problem, make_problem
from vae.latents import latents_fingerprint, load_latents

Array = NDArray[np.float64]
SIMULATED_RUNS = 200


def plan_stage(
    stage: Stage, problem: Problem, lr: float, log: Callable[[str], object] = lambda line: None
) -> PlanSet:
    """The plans that are best for the gradient steps of one stage.

    Under the total budget the planner divides the time evenly, but gradient steps are integers. So
    a merge trains less than one step shorter or longer than planned.

    Args:
        log: Called with one line per decision of the planner; see ``plan_every_strategy``.
    """
    steps = stage.steps_per_merge
    if stage.budget != "per_merge":
        steps *= max(1, problem.num_steps - 1)
    decay = partial(decay_rates, lr=lr)
    budget = Budget(train_time(lr, steps), stage.budget, decay)
    return plan_every_strategy(problem, budget, log=log, student_steps=stage.student_steps)


def steps_per_merge(
    plans: Sequence[Plan], stage: Stage, shares: Sequence[Shares] | None = None
) -> MergeSteps:
    """Gradient steps that every merge of each plan takes at a stage.

    Under a total every coordinate has T - 1 times the stage's steps.

    Args:
        plans: One per step of the student and coordinate, K d of them; see ``StrategyPlans``.
        shares: The split of each plan, under ``best_split``.
    """
    merges = 1 if stage.budget == "per_merge" else max(1, plans[0].start - 1)
    steps = merges * stage.steps_per_merge
    return shared_steps(plans, stage.budget, steps, stage.student_steps, shares)


def shared_steps(
    plans: Sequence[Plan],
    budget: BudgetKind,
    steps: int,
    student_steps: int,
    shares: Sequence[Shares] | None = None,
) -> MergeSteps:
    """Gradient steps that every merge of each plan takes.

    Under ``total`` the merges of all plans of a coordinate share the steps, the noisiest step of
    the student first; see ``planner.budget.equal_parts``. Under ``best_split`` the merges of a plan
    have their shares of the steps; see ``planner.budget.whole_parts``.

    Args:
        plans: One per step of the student and coordinate, K d of them; see ``StrategyPlans``.
        steps: Gradient steps per merge, or under a total those of a coordinate.
        shares: The split of each plan, under ``best_split``.
    """
    if budget == "best_split":
        assert shares is not None
        parts_of = cache(partial(whole_parts, steps))  # coordinates have few splits
        return tuple(map(parts_of, shares))
    if budget == "per_merge":
        return same_steps(plans, steps)
    counts = np.reshape(map_distinct(num_merges, plans), (student_steps, -1))  # (K, d)
    found = np.empty(counts.shape, object)
    known: dict[tuple[int, ...], list[tuple[int, ...]]] = {}  # coordinates have few such counts
    for i, own in enumerate(counts.T.tolist()):
        if tuple(own) not in known:
            parts = iter(equal_parts(steps, sum(own)))
            known[tuple(own)] = [tuple(islice(parts, count)) for count in own]
        found[:, i] = known[tuple(own)]
    return tuple(found.ravel().tolist())


@dataclass(frozen=True)
class Case:
    """One strategy at one stage, on the batches of one seed."""

    strategy: str
    stage: Stage
    seed: int

    @property
    def name(self) -> str:
        """The case's name in file names; files of one stage sort together."""
        return f"{self.stage.name}_{self.strategy}_seed{self.seed}"


@dataclass(frozen=True, eq=False)
class Job:
    """One training: the plans of each coordinate, and how long its merges train."""

    name: str
    """Name of the first case that needs the job."""
    plans: Plans
    """One plan per step of the student and coordinate, K d of them; see ``StrategyPlans``."""
    steps_per_merge: MergeSteps
    """Gradient steps of every merge of each plan."""
    seed: int
    """Seed of the batches."""

    @property
    def work(self) -> tuple[object, ...]:
        """What is trained, hashable; jobs of equal work end with equal students."""
        return (
            *map_distinct(outline, self.plans),
            *self.steps_per_merge,
            len(self.plans),
            self.seed,
        )

    @property
    def num_merges(self) -> int:
        """Largest number of merges that a coordinate makes."""
        return max(self._over_steps(list(map(len, self.steps_per_merge))))

    @property
    def num_rounds(self) -> int:
        """Largest number of rounds in a plan. Merges of one round are independent."""
        return max(len(own) for own in map_distinct(rounds, self.plans))

    @property
    def gradient_steps(self) -> int:
        """Gradient steps over all merges of one coordinate, of the coordinate that takes most."""
        return max(self._over_steps(list(map(sum, self.steps_per_merge))))

    def _over_steps(self, numbers: list[int]) -> list[int]:
        """A number for every plan -> the sum of each coordinate's over the steps of its student."""
        student_steps = len({plan.start for plan in self.plans})
        found: list[int] = np.reshape(numbers, (student_steps, -1)).sum(axis=0).tolist()
        return found

    @cached_property
    def sequential_steps(self) -> int:
        """Gradient steps that the training takes one after the other: its duration."""
        return count_steps(self.plans, self.steps_per_merge)


def list_jobs(
    plans: Mapping[Stage, Mapping[str, StrategyPlans]], seeds: Iterable[int]
) -> dict[Case, Job]:
    """Every case with the job that it needs, by seed, then in the order of ``plans``.

    Args:
        plans: Stage -> strategy -> its plans.
    """
    jobs: dict[tuple, Job] = {}
    cases = {}
    for seed in seeds:
        for stage, strategies in plans.items():
            for strategy, found in strategies.items():
                case = Case(strategy, stage, seed)
                steps = steps_per_merge(found.plans, stage, found.shares)
                name = case.name + _suffix(steps, stage.student_steps)
                job = Job(name, found.plans, steps, seed)
                cases[case] = jobs.setdefault(job.work, job)
    return cases


def _suffix(steps: MergeSteps, student_steps: int) -> str:
    """What the name of a job adds where merges of one coordinate take unlike numbers of steps.

    Earlier versions left the remainder of a total unused. A run that such a version began has
    students under the name without the suffix, which must not be taken for these.
    """
    width = len(steps) // student_steps
    of_coordinates = {steps[i::width] for i in range(width)}
    unlike = any(len({n for own in one for n in own}) > 1 for one in of_coordinates)
    return "_all_steps" if unlike else ""


@dataclass(frozen=True)
class Training:
    """What all jobs of a comparison have in common; small enough to send to any machine."""

    schedule: TeacherSchedule
    variances: tuple[float, ...]
    latents: tuple[Path, str] | None
    """File and SHA-256 of the latents to train on; None for Gaussian inputs."""
    batch_size: int
    lr: float
    engine: Engine
    device: str
    """Device of the engine sgd; the machine that does the job decides what auto means."""
    parametrisation: Parametrisation = OPERATOR
    rotation: Path | None = None
    """File of the rotation to train in; None for the latents' own coordinates."""

    def problem(self) -> Problem:
        """The problem that the students solve."""
        return make_problem(self.schedule, np.array(self.variances), self.parametrisation)


@dataclass(frozen=True, eq=False)
class Students:
    """The student that a job ends with, and what such training runs give."""

    engine: Engine = field(metadata=RECORDED_ENGINE)
    merges: int
    """Largest number of merges that a coordinate makes."""
    rounds: int
    """Largest number of rounds in a plan. Each round waits for the one before."""
    gradient_steps: int
    """Largest number of gradient steps over all merges of a coordinate."""
    seconds: float
    """Duration of the training."""
    operator: Array
    """Measured, (d,): the product over the steps of the student."""
    predicted: Array
    """Closed form with the expected shrinkage, (d,)."""
    expected: Array
    """Mean over simulated runs, (d,)."""
    spread: Array
    """Standard deviation over simulated runs, (d,)."""
    w2_squared_runs: Array
    """Squared W2 to the target of each simulated run, (SIMULATED_RUNS,)."""


def do_job(training: Training, job: Job, on_step: Callable[[], object] = lambda: None) -> Students:
    """Train the students of one job.

    Args:
        on_step: Called after every gradient step of ``sgd``, ``job.sequential_steps`` times.

    Raises:
        FileNotFoundError, ValueError: the latents are missing on this machine, or differ.
        FloatingPointError: a student stopped being finite.
    """
    inputs = inputs_of(training, job.seed)
    problem, lr = training.problem(), training.lr
    if training.engine == "sgd":
        return train_by_steps(job, problem, inputs, lr, pick_device(training.device), on_step)
    squares = partial(_mean_squares, training, job.seed)
    return train_in_closed_form(job, problem, inputs, lr, squares)


def train_by_steps(
    job: Job,
    problem: Problem,
    inputs: Inputs,
    lr: float,
    device: torch.device,
    on_step: Callable[[], object] = lambda: None,
) -> Students:
    """The students of one job by the engine ``sgd``.

    Args:
        on_step: Called after every gradient step, ``job.sequential_steps`` times.

    Raises:
        FloatingPointError: a student stopped being finite.
    """
    started = time.perf_counter()
    steps = job.steps_per_merge
    operator = train_students(job.plans, problem, inputs, steps, lr, device, on_step)
    seconds = time.perf_counter() - started
    return _students(job, problem, inputs, lr, "sgd", operator, seconds)


def train_in_closed_form(
    job: Job, problem: Problem, inputs: Inputs, lr: float, squares: Callable[[], Array]
) -> Students:
    """The students of one job by the engine ``closed_form``.

    Args:
        squares: Gives the mean squares of the batches, ``mean_squares(inputs)``; all jobs of a seed
            have the same.
    """
    started = time.perf_counter()
    operator = operators_after(problem, job.plans, squares(), lr, job.steps_per_merge)
    seconds = time.perf_counter() - started
    return _students(job, problem, inputs, lr, "closed_form", operator, seconds)


def _students(
    job: Job,
    problem: Problem,
    inputs: Inputs,
    lr: float,
    engine: Engine,
    operator: Array,
    seconds: float,
) -> Students:
    """What an engine trained, (d,), beside what such training runs give."""
    steps = job.steps_per_merge
    simulated = simulate_operators(job.plans, problem, inputs, lr, steps, SIMULATED_RUNS, job.seed)
    return Students(
        engine=engine,
        merges=job.num_merges,
        rounds=job.num_rounds,
        gradient_steps=job.gradient_steps,
        seconds=seconds,
        operator=operator,
        predicted=operators_after(problem, job.plans, inputs.second_moments, lr, steps),
        expected=simulated.mean(axis=0),
        spread=simulated.std(axis=0, ddof=1),
        w2_squared_runs=problem.distance(simulated, problem.target),
    )


@lru_cache(maxsize=4)
def inputs_of(training: Training, seed: int) -> Inputs:
    """The batches of one seed: one fixed batch per time, for all strategies and stages."""
    schedule = training.schedule
    if training.latents is None:
        variances = np.array(training.variances)
        return gaussian_inputs(schedule, variances, training.batch_size, seed)
    x_0 = _centred_latents(*training.latents, training.rotation)
    return latent_inputs(schedule, x_0, training.batch_size, seed)


@lru_cache(maxsize=4)
def _mean_squares(training: Training, seed: int) -> Array:
    return mean_squares(inputs_of(training, seed))


@lru_cache(maxsize=1)
def _centred_latents(path: Path, fingerprint: str, rotation_file: Path | None) -> Tensor:
    """Latents minus their mean, in the coordinates that students work in, (N, d) float32."""
    latents = load_latents(path, full=False)
    if latents_fingerprint(latents, path) != fingerprint:
        raise ValueError(f"{path}: not the latents that the comparison was started with")
    if latents.codes is None:
        raise ValueError(f"{path}: holds only moments, not the codes of images")
    width = len(latents.mean)
    rotation = None if rotation_file is None else load_rotation(rotation_file, width)[0]
    return centred_rows(latents, rotation)
