"""The face grids of a comparison, one per budget and stage ([OM] Figs. 15-19)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distill.comparison import INDEX_NAME, Comparison, open_comparison
from distill.config import RECORDED_STEPS
from distill.decode import decode_operator, noise_bank, pixel_l2
from experiment.folder import FIGURES, RESULTS, only_writer, open_run
from experiment.write import sha256, write_rows
from planner.budget import Stage
from report.config import DecodeConfig
from report.equals import Group, group_label
from report.faces import DPI, draw_faces, faces_caption, top_of_scale
from report.page import Picture
from report.style import LABELS, label, save_figure, stage_in_file_name, stage_label
from report.summary import write_summary

FOLDED = 0.2  # share of the run's largest mean pixel L2 below which a grid shows little
NAMES = 16  # letters of equal names on one line beside a row
SCALED = 8  # number of faces that give the colour scale of all grids of a run


@dataclass(frozen=True, eq=False)
class Grid:
    """One picture, and what it shows in numbers."""

    path: Path
    distances: dict[str, Tensor]  # strategy -> pixel L2 to the target's faces, (columns,)
    top: float  # end of the colour scale


@dataclass(frozen=True)
class FaceRow:
    """A row of ``results.csv``: one face of one strategy and stage."""

    budget: str
    steps_per_merge: int = field(metadata=RECORDED_STEPS)
    strategy: str
    face: int  # the face's number in the noise bank
    pixel_l2: float  # distance to the target's face
    student_steps: int  # K


def decode_grids(config: DecodeConfig) -> None:
    """Reopen a comparison, decode the faces asked for, draw them and write a summary.

    Raises:
        FileNotFoundError, OSError, ValueError: the comparison or the run folder cannot be used.
    """
    comparison = open_comparison(config.run, config.vae, config.device)
    if comparison.model is None:
        raise ValueError(f"{config.run}: has no faces, because no VAE was given to its comparison")
    stages = _stages(config, comparison)
    seed = comparison.seed if config.seed is None else config.seed
    faces = f"seed{seed}_first{config.first}_columns{config.columns}"
    out = config.out or config.run / "grids" / faces
    # ``scripts.cli`` holds the folder that --out names; without --out its name is known only here.
    with nullcontext() if config.out else only_writer(out):
        _draw_into(out, config, comparison, stages, seed)


def _stages(config: DecodeConfig, comparison: Comparison) -> list[Stage]:
    """The stages with the asked numbers of student steps."""
    known = list(dict.fromkeys(stage.student_steps for stage in comparison.plans))
    asked = known if config.student_steps is None else config.student_steps
    for steps in asked:
        if steps not in known:
            raise ValueError(
                f"--student-steps {steps}: {config.run} has students of K = "
                f"{', '.join(map(str, known))}; give one of these, or run compare_strategies "
                f"--student-steps {steps}"
            )
    return [stage for stage in comparison.plans if stage.student_steps in asked]


def _draw_into(
    out: Path, config: DecodeConfig, comparison: Comparison, stages: Sequence[Stage], seed: int
) -> None:
    inputs = {"comparison": sha256(config.run / INDEX_NAME)}
    assert comparison.model is not None  # seen to by the caller
    open_run(out, "decode_grids", config, inputs, str(next(comparison.model.parameters()).device))
    grids = draw_grids(out / FIGURES, comparison, stages, seed, config.first, config.columns)
    rows = [
        FaceRow(
            stage.budget,
            stage.steps_per_merge,
            strategy,
            config.first + i,
            distance,
            stage.student_steps,
        )
        for stage, grid in grids.items()
        for strategy, distances in grid.distances.items()
        for i, distance in enumerate(distances.tolist())
    ]
    write_rows(out / RESULTS, rows, FaceRow)
    last = config.first + config.columns - 1
    text = f"Faces {config.first} to {last} of noise bank {seed}, from the comparison {config.run}."
    target, num_steps = comparison.problem.parametrisation.target, comparison.problem.num_steps
    pictures = grid_pictures(grids, num_steps, target)
    write_summary(out, "Faces of every strategy", text, pictures, [out / RESULTS])


def grid_pictures(grids: Mapping[Stage, Grid], num_steps: int, target: str) -> list[Picture]:
    """The grids with captions. Those that show little, next to the others, are folded."""
    means = {
        stage: {name: float(of.mean()) for name, of in grid.distances.items()}
        for stage, grid in grids.items()
    }
    largest = max(max(of.values()) for of in means.values())
    pictures = []
    for stage, grid in grids.items():
        name = stage_label(stage, num_steps)
        most = max(means[stage].values())
        mean_l2 = ", ".join(f"{label(of)} {mean:.3g}" for of, mean in means[stage].items())
        pictures.append(
            Picture(
                grid.path,
                f"{name}. {faces_caption(target, grid.top)} Strategies that share "
                "one student share a row.",
                f"Faces decoded after {name} beside heatmaps of their difference to the "
                f"{target}'s faces; mean pixel L2: {mean_l2}",
                is_photo=True,
                folded=f"{name}: no face is far from the {target}'s (pixel L2 up to "
                f"{most:.2g} on average)"
                if most < FOLDED * largest
                else "",
            )
        )
    return pictures


def draw_grids(
    folder: Path,
    comparison: Comparison,
    stages: Collection[Stage],
    seed: int,
    first: int,
    columns: int,
) -> dict[Stage, Grid]:
    """Decode and draw ``columns`` images of the noise bank under every strategy of these stages.

    Where a run has several seeds of batches, the students of the first are shown. Strategies that
    share a student share a row. All grids of a run have one colour scale, whatever they show.
    """
    num_steps = comparison.problem.schedule.num_steps
    top = top_of_scale(
        images - target
        for target, decoded in _decoded(comparison, comparison.plans, comparison.seed, 0, SCALED)
        for images in decoded.values()
    )
    grids = {}
    shown = _decoded(comparison, stages, seed, first, columns)
    for stage, (target, decoded) in zip(stages, shown, strict=True):
        groups = list(decoded)
        distances = {group: pixel_l2(decoded[group], target) for group in groups}
        path = folder / f"faces_{stage_in_file_name(stage, num_steps)}.png"
        kind = "One-step students" if stage.student_steps == 1 else "Students"
        figure = draw_faces(
            target,
            {_row_name(group): decoded[group] for group in groups},
            {_row_name(group): distances[group] for group in groups},
            f"{kind}, T = {num_steps}, {stage_label(stage, num_steps)}",
            comparison.problem.parametrisation.target,
            top,
        )
        save_figure(figure, path, DPI)
        order = comparison.of_stage(stage, _batches(comparison))
        by_name = {name: distances[group] for group in groups for name in group}
        grids[stage] = Grid(path, {name: by_name[name] for name in order}, top)
    return grids


def _decoded(
    comparison: Comparison, stages: Collection[Stage], seed: int, first: int, columns: int
) -> Iterator[tuple[Tensor, dict[Group, Tensor]]]:
    """For each stage the target's images, and those of the strategies; equal ones together."""
    model, mean, rotation = comparison.model, comparison.mean, comparison.rotation
    assert model is not None  # the callers ask for faces only where there is a VAE
    z_T = noise_bank(seed, first, columns, len(mean))
    problem = comparison.problem

    def decode(operator: NDArray[np.float64]) -> Tensor:
        return decode_operator(model, problem.on_unit_noise(operator), mean, z_T, rotation)

    target = decode(problem.target)
    for stage in stages:
        students = comparison.of_stage(stage, _batches(comparison))
        groups: dict[int, list[str]] = {}  # strategies of one job share their students
        for name, own in students.items():
            groups.setdefault(id(own), []).append(name)
        yield (
            target,
            {tuple(group): decode(students[group[0]].operator) for group in groups.values()},
        )


def _batches(comparison: Comparison) -> int:
    """The seed of batches whose students are shown."""
    return next(iter(comparison.students)).seed


def _row_name(group: Group) -> str:
    return LABELS[group[0]] if len(group) == 1 else group_label(group, NAMES)
