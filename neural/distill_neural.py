"""The work of the command distill_neural: every student of the comparison, cell by cell."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from experiment.folder import open_run
from experiment.programs import write_program
from experiment.progress import tqdm
from experiment.read import reading
from experiment.tensors import checked_tensor, metadata_value, read_tensors, write_tensors
from experiment.track import Show, open_tracker
from neural.config import NeuralConfig
from neural.distil import (
    Group,
    Rounds,
    Task,
    Work,
    apply_jumps,
    distil_plans,
    fit,
    train_in_rounds,
)
from neural.jumps import Jump, teacher_step
from neural.law import best_plans, fit_step_time, predict_errors, theory_of
from neural.measure import MEASURES, Scores, score
from neural.networks import MLPs
from neural.setting import Setting, open_setting, read_inputs
from neural.shared import distil_shared
from neural.student_plans import (
    FORWARDS_OF_STUDENT,
    ComputeBudget,
    forwards,
    parts_of_merges,
    updates_per_merge,
)
from planner.plan import Plans, outline
from planner.problem import Problem

Stage = tuple[int, ComputeBudget, int]
"""Steps of the student, budget, gradient steps per merge that the budget starts from."""
CELL_KIND = "mergelab neural cell, format 1"
PLANNED = "planned"
"""The strategy that takes the plan which theory finds best for the cell."""
SHOWN = 512  # outputs of the first member that are kept for pictures
# Merges that share gradient steps. A GPU fills up with them; a CPU is busy with one.
AT_ONCE = {"cpu": 1, "cuda": 64}
# A gradient step of a small network is too short for two threads to share; and with one, its sums
# are the same however many cores there are.
THREADS = 1


@dataclass(frozen=True)
class Cell:
    """Students of one strategy that train every merge for the same number of gradient steps."""

    strategy: str
    student_steps: int
    updates: int
    plans: Plans

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        return f"{self.strategy}_K{self.student_steps}_{self.updates}"


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a cell."""

    scores: Scores
    """Infinite where a student diverged."""
    shown: Tensor
    """Outputs of the first member on the first noises, (n, d) float32."""
    seconds: float
    diverged: str
    """Why training ended early, or an empty string."""


@dataclass(frozen=True)
class NeuralRow:
    """One strategy under one budget and training length: means over all teachers and seeds."""

    strategy: str
    same_as: str
    """Another strategy that has the same plans, so the same students; or an empty string."""
    student_steps: int
    budget: ComputeBudget
    steps_per_merge: int
    """The training length that the budget starts from."""
    updates: int
    """Gradient steps that each merge of this strategy gets."""
    merges: int
    gradient_steps: int
    forwards: int
    error: float
    """E|student - teacher|**2 / Var(teacher)."""
    std_teachers: float
    """Standard deviation over teachers of their students' mean error; nan for one teacher."""
    std_seeds: float
    """Standard deviation over the students of a teacher; nan for one student."""
    linear: float
    nonlinear: float
    sliced_w2: float
    predicted: float
    """The law's error, its speed fitted on vanilla's; nan where there is no law."""
    seconds: float
    diverged: str


@dataclass(frozen=True, eq=False)
class NeuralComparison:
    """All that a report needs."""

    setting: Setting
    rows: list[NeuralRow]
    shown: dict[tuple[str, Stage], Tensor]
    """(strategy, stage) -> outputs of the first member."""


def distill_neural(config: NeuralConfig) -> NeuralComparison:
    """Train every student, or load what an earlier run of this command finished.

    Raises:
        FileNotFoundError, OSError, ValueError: an input or the run folder cannot be used.
        FloatingPointError: a teacher diverged, or all students did. Students that diverge are
            recorded in their cell, and the others go on.
    """
    inputs = read_inputs(config)
    problem = theory_of(  # it refuses variances that no theory covers before anything is trained
        inputs.schedule,
        inputs.variances,
        config.parametrisation,
        config.students_loss,
        config.prediction,
        config.optimizer,
    )
    open_run(config.out, "distill_neural", config, inputs.hashes, str(inputs.device))
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        setting = open_setting(config, inputs)
        # Cells that an earlier run finished are shown again, so nothing that it showed stays.
        with open_tracker(config.track, config.out, config, 0, "updates") as show:
            return _compare(setting, problem, show)
    finally:
        torch.set_num_threads(threads)


def _compare(setting: Setting, problem: Problem | None, show: Show) -> NeuralComparison:
    cells = cells_of_stages(setting)
    trained = _train_all(setting, cells, show)
    theories = {stage: _theory(problem, own, trained) for stage, own in cells.items()}
    for stage, theory in theories.items():
        if theory is not None:
            cells[stage] |= _planned_cell(setting, stage, cells[stage], theory)
    trained = _train_all(setting, cells, show, trained)
    rows: list[NeuralRow] = []
    shown: dict[tuple[str, Stage], Tensor] = {}
    for stage, of_stage in cells.items():
        found = {strategy: trained[cell.name] for strategy, cell in of_stage.items()}
        rows += _rows(setting, stage, of_stage, found, theories[stage])
        shown |= {(strategy, stage): one.shown for strategy, one in found.items()}
    if all(row.diverged for row in rows):
        raise FloatingPointError(
            f"every strategy diverged ({rows[0].strategy}: {rows[0].diverged}); give a smaller --lr"
        )
    return NeuralComparison(setting, rows, shown)


def cells_of_stages(setting: Setting) -> dict[Stage, dict[str, Cell]]:
    """Stage -> strategy -> its cell, without the plans that theory finds for measured students."""
    config = setting.config
    stages: list[Stage] = [
        (student_steps, budget, steps_per_merge)
        for student_steps in config.student_steps
        for budget in config.budgets
        for steps_per_merge in config.steps_per_merge
    ]
    return {stage: _cells(setting, stage) for stage in stages}


def _cells(setting: Setting, stage: Stage) -> dict[str, Cell]:
    """Strategy -> its cell; strategies with equal plans share one, which bears the first's name."""
    student_steps = stage[0]
    cells: dict[str, Cell] = {}
    shared: dict[tuple, str] = {}
    for strategy, plans in setting.plans_of(student_steps).items():
        first = shared.setdefault(tuple(map(outline, plans)), strategy)
        cells[strategy] = Cell(first, student_steps, _updates(setting, stage, plans), plans)
    return cells


def _updates(setting: Setting, stage: Stage, plans: Plans) -> int:
    _, budget, steps_per_merge = stage
    return updates_per_merge(budget, plans, steps_per_merge, setting.config.num_steps)


@dataclass(frozen=True, eq=False)
class _Theory:
    """The linear problem, and the training time that one gradient step of a network is worth."""

    problem: Problem
    step_time: float


def _theory(
    problem: Problem | None, cells: Mapping[str, Cell], trained: Mapping[str, Trained]
) -> _Theory | None:
    """The theory of one stage; None where there is no law, or vanilla diverged or has no merge."""
    if problem is None:
        return None
    vanilla = cells["vanilla"]
    error = trained[vanilla.name].scores.error.mean().item()
    step_time = fit_step_time(problem, vanilla.plans, vanilla.updates, error)
    return None if step_time is None else _Theory(problem, step_time)


def _planned_cell(
    setting: Setting, stage: Stage, cells: Mapping[str, Cell], theory: _Theory
) -> dict[str, Cell]:
    """The cell of the plan that theory finds best: another strategy's where their plans agree."""
    student_steps, budget, steps_per_merge = stage

    def updates_of(plans: Plans) -> int:
        return _updates(setting, stage, plans)

    plans = best_plans(theory.problem, student_steps, updates_of, theory.step_time)
    for cell in cells.values():
        if list(map(outline, cell.plans)) == list(map(outline, plans)):
            return {PLANNED: cell}
    # The plan of another stage may differ at the same number of gradient steps.
    name = f"{PLANNED}_{budget}_{steps_per_merge}"
    return {PLANNED: Cell(name, student_steps, updates_of(plans), plans)}


def _train_all(
    setting: Setting,
    cells: Mapping[Stage, Mapping[str, Cell]],
    show: Show,
    known: Mapping[str, Trained] = MappingProxyType({}),
) -> dict[str, Trained]:
    """Name of a cell -> its result; finished cells are read from the run folder.

    Args:
        known: Cells that need not be read again.
    """
    folder = setting.config.out / "cells"
    wanted = {cell.name: cell for of_stage in cells.values() for cell in of_stage.values()}
    missing = {name: cell for name, cell in wanted.items() if name not in known}
    paths = {name: folder / f"{name}.safetensors" for name in missing}
    waiting = [
        cell
        for name, cell in missing.items()
        if not paths[name].exists()
        or (setting.config.export and not program_path(setting.config.out, name).exists())
    ]
    passes = sum(forwards(cell.plans, cell.updates) for cell in waiting)
    device = setting.inputs.device.type
    at_once = AT_ONCE[device]
    # One cell after another where merges are trained one by one, so that cells finish one by one.
    together = [[cell] for cell in waiting] if at_once == 1 else [waiting]
    if waiting:
        with tqdm(total=passes, unit="pass", unit_scale=True, desc="students") as bar:
            for beside in together:
                bar.set_description(_describe(beside))
                for cell, trained in train_cells(setting, beside, bar.update, at_once):
                    if trained.diverged:
                        bar.write(
                            f"{cell.strategy}: {trained.diverged}; the other strategies go on"
                        )
                    _write_trained(paths[cell.name], trained)
                    _show(show, cell, trained)
    members = len(setting.reference.outputs)
    found = {name: _read_trained(path, members) for name, path in paths.items()}
    for name in missing.keys() - {cell.name for cell in waiting}:
        _show(show, missing[name], found[name])
    return {**known, **found}


def _describe(cells: Sequence[Cell]) -> str:
    """What the bar says of the cells that are trained."""
    if len(cells) > 1:
        return f"{len(cells)} students side by side"
    return f"{cells[0].strategy}, K = {cells[0].student_steps}, {cells[0].updates} steps"


def _show(show: Show, cell: Cell, trained: Trained) -> None:
    """The mean measures of a cell, over the gradient steps of its merges."""
    if not trained.diverged:
        where = f"{cell.strategy}_K{cell.student_steps}"
        means = {name: getattr(trained.scores, name).mean().item() for name in MEASURES}
        show({f"{where}/{name}": mean for name, mean in means.items()}, cell.updates, None)


def program_path(run: Path, cell: str) -> Path:
    """File of the program of a cell's first student."""
    return run / "students" / f"{cell}.pt2"


class FirstStudent(nn.Module):
    """The first student of a cell: initial noise (B, d) -> data (B, d)."""

    def __init__(self, students: Sequence[Jump]) -> None:
        super().__init__()
        self.jumps = nn.ModuleList(student.first_member() for student in students)

    def forward(self, noise: Tensor) -> Tensor:
        """All jumps of the student, noisiest first."""
        return apply_jumps(list(self.jumps), noise[None])[0]


def train_cells(
    setting: Setting, cells: Sequence[Cell], on_passes: Callable[[int], object], at_once: int
) -> Iterator[tuple[Cell, Trained]]:
    """Distil the plans of cells side by side, and measure the students of each as it finishes.

    Args:
        on_passes: Called with the forward passes of each gradient step.
        at_once: Merges that share gradient steps, at most.
    """
    config = setting.config
    by_name = {cell.name: cell for cell in cells}
    seconds = dict.fromkeys(by_name, 0.0)

    def train(ready: Mapping[str, list[Group]], updates: int) -> dict[str, str]:
        named = [(name, tasks) for name, groups in ready.items() for tasks in groups]
        diverged: dict[str, str] = {}
        for first in range(0, len(named), at_once):
            beside = named[first : first + at_once]
            started = time.perf_counter()
            reasons = fit(
                [tasks for _, tasks in beside],
                updates,
                config.students_loss,
                config.optimizer,
                config.students_lr,
                lambda tasks: on_passes(sum(map(passes_of, tasks))),
            )
            took = time.perf_counter() - started
            passes = [sum(map(passes_of, tasks)) / len(tasks) for _, tasks in beside]
            for (name, _), reason, own in zip(beside, reasons, passes, strict=True):
                seconds[name] += took * own / sum(passes)
                if reason:
                    diverged.setdefault(name, reason)
        return diverged

    works = {name: Work(_rounds(setting, cell), cell.updates) for name, cell in by_name.items()}
    for name, found in train_in_rounds(works, train):
        cell = by_name[name]
        yield cell, _measure(setting, cell, found, seconds[name])


def passes_of(task: Task) -> int:
    """Forward passes of a gradient step."""
    return len(task.parts) + FORWARDS_OF_STUDENT


def _rounds(setting: Setting, cell: Cell) -> Rounds:
    config = setting.config
    if config.student == "shared":
        assert isinstance(setting.teachers, MLPs)  # the config refuses it on latents
        return distil_shared(cell.plans, setting.teachers, setting.schedule, setting.batches)

    def leaf(t: int) -> Jump:
        return teacher_step(setting.teachers, setting.schedule, t, config.parametrisation)

    return distil_plans(cell.plans, leaf, setting.batches)


def _measure(setting: Setting, cell: Cell, found: list[Jump] | str, seconds: float) -> Trained:
    """The result of a cell from its students, or from why one of them diverged."""
    reference, config = setting.reference, setting.config
    if isinstance(found, str):
        outputs = reference.outputs.new_zeros(reference.outputs.shape)
        scores = Scores(*(torch.full((len(outputs),), torch.inf).double() for _ in MEASURES))
        return Trained(scores, outputs[0, :SHOWN].float().cpu(), seconds, found)
    with torch.no_grad():
        outputs = apply_jumps(found, reference.inputs())
    if config.export:
        write_program(program_path(config.out, cell.name), FirstStudent(found), outputs.shape[-1])
    return Trained(score(reference, outputs), outputs[0, :SHOWN].float().cpu(), seconds, "")


def _write_trained(path: Path, trained: Trained) -> None:
    tensors = {name: getattr(trained.scores, name) for name in MEASURES}
    if trained.diverged:  # no infinity in a file: what diverged has no scores
        tensors = {}
    facts = {"seconds": f"{trained.seconds:.3f}", "diverged": trained.diverged}
    write_tensors(path, tensors | {"shown": trained.shown}, {"kind": CELL_KIND} | facts)


def _read_trained(path: Path, members: int) -> Trained:
    tensors, metadata = read_tensors(path, CELL_KIND, "remove it to train it again")
    with reading(path, "a cell of this run", "remove it to train it again"):
        shown = checked_tensor(tensors, "shown", torch.float32, (None, None))
        diverged = metadata_value(metadata, "diverged")
        seconds = float(metadata_value(metadata, "seconds"))
        infinite = torch.full((members,), torch.inf).double()
        scores = Scores(
            **{
                name: infinite
                if diverged
                else checked_tensor(tensors, name, torch.float64, (members,))
                for name in MEASURES
            }
        )
        return Trained(scores, shown, seconds, diverged)


def _rows(
    setting: Setting,
    stage: Stage,
    cells: Mapping[str, Cell],
    trained: Mapping[str, Trained],
    theory: _Theory | None,
) -> Iterator[NeuralRow]:
    config = setting.config
    student_steps, budget, steps_per_merge = stage
    predicted = None
    if theory is not None:
        predicted = predict_errors(
            theory.problem,
            {strategy: cell.plans for strategy, cell in cells.items()},
            {strategy: cell.updates for strategy, cell in cells.items()},
            theory.step_time,
        )
    for strategy, cell in cells.items():
        scores = trained[strategy].scores
        errors = scores.error.reshape(config.num_teachers, config.seeds).numpy()
        merges = len(parts_of_merges(cell.plans))
        yield NeuralRow(
            strategy=strategy,
            same_as=cell.strategy if strategy != cell.strategy in cells else "",
            student_steps=student_steps,
            budget=budget,
            steps_per_merge=steps_per_merge,
            updates=cell.updates,
            merges=merges,
            gradient_steps=merges * cell.updates,
            forwards=forwards(cell.plans, cell.updates),
            error=float(errors.mean()),
            std_teachers=_spread(errors.mean(axis=1)),
            std_seeds=float(np.sqrt(np.mean([_spread(row) ** 2 for row in errors]))),
            linear=scores.linear.mean().item(),
            nonlinear=scores.nonlinear.mean().item(),
            sliced_w2=scores.sliced_w2.mean().item(),
            predicted=predicted[strategy] if predicted else float("nan"),
            seconds=trained[strategy].seconds,
            diverged=trained[strategy].diverged,
        )


def _spread(values: np.ndarray) -> float:
    """Standard deviation; nan for a single value, or where one is infinite."""
    finite = len(values) > 1 and bool(np.isfinite(values).all())
    return float(np.std(values, ddof=1)) if finite else float("nan")


def stages_of(rows: Sequence[NeuralRow]) -> dict[Stage, dict[str, NeuralRow]]:
    """Stage -> strategy -> its row."""
    found: dict[Stage, dict[str, NeuralRow]] = {}
    for row in rows:
        stage = (row.student_steps, row.budget, row.steps_per_merge)
        found.setdefault(stage, {})[row.strategy] = row
    return found
