"""Figures of a comparison of neural students: error curves, points in the plane, decoded faces."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from distill.decode import pixel_l2
from neural.distill_neural import PLANNED, NeuralComparison, NeuralRow, Stage, stages_of
from neural.student_plans import ComputeBudget
from report.faces import DPI, draw_faces, faces_caption, top_of_scale
from report.page import Picture, Section
from report.style import (
    COLOURS,
    LABELS,
    MARKERS,
    STYLE,
    fitting_legend,
    label,
    save_figure,
    widen_to_a_decade,
)
from sampling.sample_faces import decode

BUDGET_NAMES: dict[ComputeBudget, str] = {
    "per_merge": "equal per merge",
    "total": "equal in total",
    "compute": "equal compute",
}
INCHES, SMALL_INCHES = 2.6, 1.75  # side of a panel; of one that has the axes of its neighbours
MOST_ACROSS = 4  # such panels


def draw_figures(folder: Path, comparison: NeuralComparison) -> list[Section]:
    """Draw all figures, in the order of the page."""
    rows = comparison.rows
    curves = [
        Picture(
            folder / "errors.png",
            "Error over the training length, with the spread over the students of a teacher. Rings "
            "mark the plan that theory finds best.",
            "Log-log curves of the error over gradient steps, one line per strategy",
        )
    ]
    save_figure(draw_errors(rows), curves[0].path)
    if len({row.student_steps for row in rows}) > 1:
        curves.append(
            Picture(
                folder / "student_steps.png",
                "Error over the steps K of the student, after the longest training.",
                "Log-log curves of the error over the steps of the student",
            )
        )
        save_figure(draw_student_steps(rows), curves[1].path)
    sections = [Section("Errors", curves)]
    if comparison.setting.inputs.vae is None and comparison.setting.inputs.estimator is not None:
        return sections  # latents of an unknown encoder: no faces, and not two coordinates
    if comparison.setting.inputs.vae is None:
        points = Picture(
            folder / "outputs.png",
            "What the first teacher (grey) and its first student (coloured) make of the same "
            "noise, after the shortest training.",
            "Scatter plots of the outputs of teacher and students",
        )
        save_figure(draw_outputs(comparison), points.path)
        return [*sections, Section("Outputs", [points])]
    return [*sections, Section("Decoded faces", draw_face_grids(folder, comparison))]


def draw_errors(rows: Sequence[NeuralRow]) -> Figure:
    """Draw the error over the training length: one row of panels per K, one column per budget."""
    budgets = list(dict.fromkeys(row.budget for row in rows))
    numbers = list(dict.fromkeys(row.student_steps for row in rows))
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(numbers), len(budgets))
        for number, line in zip(numbers, panels, strict=True):
            for budget, panel in zip(budgets, line, strict=True):
                here = [row for row in rows if (row.student_steps, row.budget) == (number, budget)]
                _draw_lines(panel, here, "steps_per_merge")
                panel.set_title(f"K = {number}, {BUDGET_NAMES[budget]}")
            widen_to_a_decade(line[0])
            line[0].set_ylabel("error / variance of the teacher")
        for panel in panels[-1]:
            panel.set_xlabel("gradient steps per merge of a pair")
        _add_legend(figure, panels[0][0])
    return figure


def draw_student_steps(rows: Sequence[NeuralRow]) -> Figure:
    """Draw the error over K, the steps of the student, after the longest training."""
    budgets = list(dict.fromkeys(row.budget for row in rows))
    longest = max(row.steps_per_merge for row in rows)
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(1, len(budgets))
        for budget, panel in zip(budgets, panels[0], strict=True):
            here = [row for row in rows if (row.steps_per_merge, row.budget) == (longest, budget)]
            _draw_lines(panel, here, "student_steps")
            panel.set_title(f"{BUDGET_NAMES[budget]}, {longest:,}")
            panel.set_xlabel("steps K of the student")
        widen_to_a_decade(panels[0][0])
        panels[0][0].set_ylabel("error / variance of the teacher")
        _add_legend(figure, panels[0][0])
    return figure


def _panels(depth: int, width: int, alike: bool = False) -> tuple[Figure, list[list[Axes]]]:
    """Panels that share the y axis in a row, or both axes everywhere if ``alike``."""
    inches = SMALL_INCHES if alike else INCHES
    figure = Figure(figsize=(inches * width + 0.6, inches * depth + 0.4), layout="constrained")
    y: Literal["all", "row"] = "all" if alike else "row"
    panels = figure.subplots(depth, width, squeeze=False, sharex=alike, sharey=y)
    return figure, [list(line) for line in panels]


def _draw_lines(panel: Axes, rows: Sequence[NeuralRow], x: str) -> None:
    for strategy in dict.fromkeys(row.strategy for row in rows):
        line = sorted(
            (
                row
                for row in rows
                if row.strategy == strategy and not row.diverged and row.error > 0
            ),
            key=lambda row: float(getattr(row, x)),
        )
        if strategy == PLANNED:  # a ring, as it often lies on another strategy's point
            panel.plot(
                [getattr(row, x) for row in line],
                [row.error for row in line],
                "o",
                color=COLOURS[strategy],
                markersize=8,
                markerfacecolor="none",
                label=label(strategy),
            )
            continue
        panel.errorbar(
            [getattr(row, x) for row in line],
            [row.error for row in line],
            yerr=[0.0 if isnan(row.std_seeds) else row.std_seeds for row in line],
            color=COLOURS[strategy],
            marker=MARKERS[strategy],
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=label(strategy),
        )
    panel.set_xscale("log")
    if any(not row.diverged for row in rows):
        panel.set_yscale("log")
    places = sorted({getattr(row, x) for row in rows})
    panel.set_xticks(places, [f"{place:,}" for place in places])
    panel.xaxis.minorticks_off()


def _add_legend(figure: Figure, labelled: Axes) -> None:
    found = dict(zip(*reversed(labelled.get_legend_handles_labels()), strict=True))
    names = [name for key in LABELS if (name := label(key)) in found]
    # In one order, whatever is drawn as a line.
    fitting_legend(figure, [(found[name], name) for name in names])


def draw_outputs(comparison: NeuralComparison) -> Figure:
    """Draw what the first teacher and its first student make of the same noise.

    One panel per K and strategy, after the shortest training.
    """
    config = comparison.setting.config
    budget, steps = config.budgets[0], min(config.steps_per_merge)
    drawn = [
        row
        for row in comparison.rows
        if (row.budget, row.steps_per_merge) == (budget, steps) and not row.same_as
    ]
    strategies = list(dict.fromkeys(row.strategy for row in drawn))
    across = min(MOST_ACROSS, len(strategies))
    depth = -(-len(strategies) // across)  # lines of panels per K
    with matplotlib.rc_context(STYLE):
        numbers = config.student_steps
        figure, panels = _panels(depth * len(numbers), across, alike=True)
        for place, number in enumerate(numbers):
            of_number = [panel for line in panels[place * depth :][:depth] for panel in line]
            for panel in of_number[len(strategies) :]:
                panel.set_axis_off()
            for strategy, panel in zip(strategies, of_number, strict=False):
                stage = (number, budget, steps)
                row = stages_of(comparison.rows)[stage].get(strategy)
                if row is None or row.same_as or row.diverged:
                    panel.set_axis_off()
                    continue
                found = comparison.shown[strategy, stage]
                teacher = comparison.setting.reference.outputs[0, : len(found)].cpu()
                panel.scatter(*teacher.T, s=3, color="0.75", label="teacher")
                panel.scatter(*found.T, s=3, color=COLOURS[strategy])
                panel.set_title(f"{label(strategy)}, K = {number}", fontsize=8)
        figure.supxlabel("first coordinate", fontsize=9)
        figure.supylabel("second coordinate", fontsize=9)
        title = f"{BUDGET_NAMES[budget]}, {steps:,} gradient steps per merge; grey: teacher"
        figure.suptitle(title, fontsize=9)
    return figure


def draw_face_grids(folder: Path, comparison: NeuralComparison) -> list[Picture]:
    """Decode what teacher and students make of the same noise: one grid per stage.

    Where students of several numbers of steps K are compared, one more grid per budget holds all K
    after the longest training. All grids of a run have one colour scale.
    """
    config = comparison.setting.config
    faces = {stage: _decoded(comparison, stage) for stage in stages_of(comparison.rows)}
    grids = {}
    for (number, budget, steps), decoded in faces.items():
        title = f"K = {number}, {BUDGET_NAMES[budget]}, {steps:,} gradient steps per merge"
        grids[folder / f"faces_K{number}_{budget}_{steps}.png"] = (title, decoded)
    if len(config.student_steps) > 1:
        longest = max(config.steps_per_merge)
        for budget in config.budgets:
            rows = {
                f"{name}\nK = {number}": images
                for number in config.student_steps
                for name, images in faces[number, budget, longest].items()
            }
            title = f"All K, {BUDGET_NAMES[budget]}, {longest:,} gradient steps per merge"
            grids[folder / f"faces_of_all_K_{budget}_{longest}.png"] = (title, rows)
    setting = comparison.setting
    assert setting.inputs.vae is not None  # only latents have faces
    teacher = decode(setting.inputs.vae, setting.reference.outputs[0, : config.columns])
    top = top_of_scale(images - teacher for of in faces.values() for images in of.values())
    pictures = []
    for path, (title, decoded) in grids.items():
        if not decoded:
            continue
        distances = {name: pixel_l2(images, teacher) for name, images in decoded.items()}
        figure = draw_faces(teacher, decoded, distances, title, "teacher", top)
        save_figure(figure, path, DPI)
        means = ", ".join(
            f"{name.replace(chr(10), ' ')} {of.mean():.3g}" for name, of in distances.items()
        )
        pictures.append(
            Picture(
                path,
                f"{title}. {faces_caption('teacher', top)}",
                f"Decoded faces beside heatmaps of their difference; mean pixel L2: {means}",
                is_photo=True,
            )
        )
    return pictures


def _decoded(comparison: NeuralComparison, stage: Stage) -> dict[str, Tensor]:
    """Strategy -> images of its first student; none where it diverged or is another's."""
    vae, config = comparison.setting.inputs.vae, comparison.setting.config
    assert vae is not None  # only latents have faces
    return {
        LABELS[name]: decode(vae, comparison.shown[name, stage][: config.columns])
        for name, row in stages_of(comparison.rows)[stage].items()
        if not row.diverged and not row.same_as
    }
