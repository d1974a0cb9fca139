"""Neural students of every strategy: tables, rankings beside theory, curves, points and faces."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from distill.decode import pixel_l2
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from neural.distill_neural import PLANNED, NeuralComparison, NeuralRow, Stage
from neural.ranking import (
    CONSTANT_GUESS,
    Errors,
    finite,
    kendall_tau,
    named_by,
    regret,
    tally,
    winner,
)
from neural.student_plans import ComputeBudget
from report.faces import draw_faces
from report.style import COLOURS, MARKERS, STYLE, label, save_figure
from report.summary import markdown_table, write_summary
from sampling.sample_faces import decode

BUDGET_NAMES: dict[ComputeBudget, str] = {
    "per_merge": "equal per merge",
    "total": "equal in total",
    "compute": "equal compute",
}
NOTE = (
    "Errors are E|student - teacher|² / Var(teacher) on shared noise, means over {teachers} "
    "teacher(s) with {seeds} student(s) each; the least of a column is bold. Columns give the "
    "gradient steps per merge that a budget starts from: the totals are those of T - 1 merges of "
    "pairs."
)
INCHES = 2.6  # side of a panel


def report_neural(out: Path, comparison: NeuralComparison) -> None:
    """Tabulate, draw and sum up the comparison in the run folder ``out``."""
    rows = comparison.rows
    write_rows(out / RESULTS, rows, NeuralRow)
    figures = [out / FIGURES / "errors.png"]
    draw_errors(figures[0], rows)
    if len({row.student_steps for row in rows}) > 1:
        figures.append(out / FIGURES / "student_steps.png")
        draw_student_steps(figures[-1], rows)
    if comparison.setting.inputs.vae is None:
        figures.append(out / FIGURES / "outputs.png")
        draw_outputs(figures[-1], comparison)
    else:
        figures += draw_face_grids(out / FIGURES, comparison)
    write_summary(out, "Neural students", summary(comparison), figures, [out / RESULTS])


def summary(comparison: NeuralComparison) -> str:
    """What came out, in Markdown."""
    config = comparison.setting.config
    parts = [NOTE.format(teachers=config.num_teachers, seeds=config.seeds)]
    for student_steps in config.student_steps:
        rows = [row for row in comparison.rows if row.student_steps == student_steps]
        parts.append(f"Students of {student_steps} step(s):\n\n{error_table(rows)}")
    diverged = {row.strategy: row.diverged for row in comparison.rows if row.diverged}
    parts += [f"{label(name)}: {reason}." for name, reason in diverged.items()]
    parts.append(ranking_table(comparison.rows))
    return "\n\n".join(parts)


def stages_of(rows: Sequence[NeuralRow]) -> dict[Stage, dict[str, NeuralRow]]:
    """Stage -> strategy -> its row."""
    found: dict[Stage, dict[str, NeuralRow]] = {}
    for row in rows:
        stage = (row.student_steps, row.budget, row.steps_per_merge)
        found.setdefault(stage, {})[row.strategy] = row
    return found


def error_table(rows: Sequence[NeuralRow]) -> str:
    """Error of every strategy, one column per budget and training length."""
    stages = stages_of(rows)
    header = [f"{BUDGET_NAMES[budget]}, {steps:,}" for _, budget, steps in stages]
    least = {stage: min(row.error for row in line.values()) for stage, line in stages.items()}
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        line = [label(strategy)]
        for stage, by_strategy in stages.items():
            row = by_strategy.get(strategy)
            if row is None:  # there is no law, or vanilla has nothing to fit
                line.append("–")
                continue
            text = "diverged" if row.diverged else f"{row.error:.2e}"
            if strategy == PLANNED and row.same_as:
                line.append(f"= {label(row.same_as)}")
            else:
                line.append(f"**{text}**" if row.error == least[stage] else text)
        lines.append(line)
    return markdown_table(["strategy", *header], lines)


def ranking_table(rows: Sequence[NeuralRow]) -> str:
    """Who won, whom the law and a constant guess name, and what it costs to believe them."""
    lines = []
    for (student_steps, budget, steps), by_strategy in stages_of(rows).items():
        measured = rivals(by_strategy)
        if len(measured) < 2:
            continue
        predicted = _predicted(by_strategy, measured)
        won = winner(measured)
        lines.append(
            [
                f"K = {student_steps}, {BUDGET_NAMES[budget]}, {steps:,}",
                label(won) if won else "none",
                *_judged(measured, predicted),
                *_named(measured, [CONSTANT_GUESS[budget]]),
            ]
        )
    header = ["cell", "winner", "law names", "regret", "τ", "constant guess", "regret"]
    return (
        "A winner leads by 10 % or more. Regret is the error of the strategy that was named over "
        "the least error, of the worst where a law puts several first. τ is Kendall's, over the "
        "pairs that differ by 10 % or more.\n\n"
        + markdown_table(header, lines)
        + "\n\n"
        + score_sentence(rows)
    )


def rivals(rows: Mapping[str, NeuralRow]) -> Errors:
    """Errors of the strategies that have plans of their own and did not diverge."""
    return finite({name: row.error for name, row in rows.items() if not row.same_as})


def score_sentence(rows: Sequence[NeuralRow]) -> str:
    """How often the law and the constant guess named the winner, over all cells."""
    cells, law_names, guesses = [], [], []
    for (_, budget, _), by_strategy in stages_of(rows).items():
        measured = rivals(by_strategy)
        predicted = _predicted(by_strategy, measured)
        if predicted and CONSTANT_GUESS[budget] in measured and len(measured) > 1:
            cells.append(measured)
            law_names.append(named_by(predicted))
            guesses.append([CONSTANT_GUESS[budget]])
    if not cells:
        return "There is no law for this optimizer and parametrisation."
    law, guess = tally(cells, law_names), tally(cells, guesses)
    return (
        f"Of {law.cells} cells {law.winners} have a winner: the law names {law.hits} of them "
        f"(largest regret {law.max_regret:.2f}), the constant guess {guess.hits} "
        f"({guess.max_regret:.2f})."
    )


def _predicted(rows: Mapping[str, NeuralRow], measured: Errors) -> dict[str, float] | None:
    found = {name: rows[name].predicted for name in measured}
    return None if any(map(isnan, found.values())) else found


def _judged(measured: Errors, predicted: Errors | None) -> list[str]:
    if predicted is None:
        return ["–"] * 3
    tau = kendall_tau(measured, predicted)
    named = _named(measured, named_by(predicted))
    return [*named, "–" if tau is None else f"{tau:.2f}"]


def _named(measured: Errors, names: Sequence[str]) -> list[str]:
    cost = f"{regret(measured, names):.2f}" if set(names) <= set(measured) else "diverged"
    return [" or ".join(map(label, names)), cost]


def draw_errors(path: Path, rows: Sequence[NeuralRow]) -> None:
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
            line[0].set_ylabel("error / variance of the teacher")
        for panel in panels[-1]:
            panel.set_xlabel("gradient steps per merge of a pair")
        _finish(figure, panels[0][0], path)


def draw_student_steps(path: Path, rows: Sequence[NeuralRow]) -> None:
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
        panels[0][0].set_ylabel("error / variance of the teacher")
        _finish(figure, panels[0][0], path)


def _panels(depth: int, width: int, alike: bool = False) -> tuple[Figure, list[list[Axes]]]:
    """Panels that share the y axis in a row, or both axes everywhere if ``alike``."""
    figure = Figure(figsize=(INCHES * width + 0.6, INCHES * depth + 0.6), layout="constrained")
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


def _finish(figure: Figure, labelled: Axes, path: Path) -> None:
    handles, names = labelled.get_legend_handles_labels()
    columns = min(len(names), max(1, int(figure.get_figwidth() / 1.7)))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False)
    save_figure(figure, path)


def draw_outputs(path: Path, comparison: NeuralComparison) -> None:
    """Draw what the first teacher and its first student make of the same noise.

    One row of panels per K, one column per strategy, after the shortest training.
    """
    config = comparison.setting.config
    budget, steps = config.budgets[0], min(config.steps_per_merge)
    strategies = list(dict.fromkeys(row.strategy for row in comparison.rows))
    with matplotlib.rc_context(STYLE):
        depth = len(config.student_steps)
        figure, panels = _panels(depth, len(strategies), alike=True)
        for number, line in zip(config.student_steps, panels, strict=True):
            for strategy, panel in zip(strategies, line, strict=True):
                stage = (number, budget, steps)
                row = stages_of(comparison.rows)[stage].get(strategy)
                if row is None or row.same_as or row.diverged:
                    panel.set_axis_off()
                    continue
                found = comparison.shown[strategy, stage]
                teacher = comparison.setting.reference.outputs[0, : len(found)].cpu()
                panel.scatter(*teacher.T, s=3, color="0.75", label="teacher")
                panel.scatter(*found.T, s=3, color=COLOURS[strategy])
                panel.set_title(f"{label(strategy)}, K = {number}")
        for panel in panels[-1]:
            panel.set_xlabel("first coordinate")
        for line in panels:
            line[0].set_ylabel("second coordinate")
        title = f"{BUDGET_NAMES[budget]}, {steps:,} gradient steps per merge; grey: teacher"
        figure.suptitle(title, fontsize=9)
        save_figure(figure, path)


def draw_face_grids(folder: Path, comparison: NeuralComparison) -> list[Path]:
    """Decode what teacher and students make of the same noise: one grid per stage.

    Where students of several numbers of steps K are compared, one more grid per budget holds all K
    after the longest training, on one colour scale.
    """
    config = comparison.setting.config
    faces = {stage: _decoded(comparison, stage) for stage in stages_of(comparison.rows)}
    paths = []
    for (number, budget, steps), decoded in faces.items():
        if not decoded:
            continue
        paths.append(folder / f"faces_K{number}_{budget}_{steps}.png")
        title = f"K = {number}, {BUDGET_NAMES[budget]}, {steps:,} gradient steps per merge"
        _draw_grid(paths[-1], comparison, decoded, title)
    if len(config.student_steps) > 1:
        longest = max(config.steps_per_merge)
        for budget in config.budgets:
            paths.append(folder / f"faces_of_all_K_{budget}_{longest}.png")
            rows = {
                f"{label(name)}\nK = {number}": images
                for number in config.student_steps
                for name, images in faces[number, budget, longest].items()
            }
            title = f"{BUDGET_NAMES[budget]}, {longest:,} gradient steps per merge"
            if not rows:
                continue
            _draw_grid(paths[-1], comparison, rows, title)
    return paths


def _decoded(comparison: NeuralComparison, stage: Stage) -> dict[str, Tensor]:
    """Strategy -> images of its first student; none where it diverged or is another's."""
    vae, config = comparison.setting.inputs.vae, comparison.setting.config
    assert vae is not None  # only latents have faces
    return {
        name: decode(vae, comparison.shown[name, stage][: config.columns])
        for name, row in stages_of(comparison.rows)[stage].items()
        if not row.diverged and not row.same_as
    }


def _draw_grid(
    path: Path, comparison: NeuralComparison, decoded: dict[str, Tensor], title: str
) -> None:
    setting = comparison.setting
    assert setting.inputs.vae is not None
    teacher = decode(setting.inputs.vae, setting.reference.outputs[0, : setting.config.columns])
    distances = {name: pixel_l2(images, teacher) for name, images in decoded.items()}
    draw_faces(path, teacher, decoded, distances, title, teacher_name="teacher")
