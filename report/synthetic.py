"""The synthetic experiments: measured errors beside their prediction, in figures and tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distill.published import ComparedCell
from distill.simulate_students import SyntheticRow
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from report.markdown import markdown_table
from report.page import Picture
from report.style import (
    COLOURS,
    STYLE,
    NotebookFigure,
    label,
    save_figure,
    widen_to_a_decade,
)
from report.summary import write_summary

INCHES_PER_NAME = 1.45


class Measured(Protocol):
    """The fields that a row needs to be drawn."""

    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...
    @property
    def predicted(self) -> float: ...


def draw_errors_of(
    panel: Axes,
    name: str,
    x: Sequence[float],
    rows: Sequence[Measured],
    floor: float = 0.0,
    shift: float = 1.0,
) -> None:
    """Draw one strategy: |mean| ± std as points, |predicted| as a line (a single value as a dash).

    Args:
        x: Position of each row.
        floor: Means at or below this value are not drawn.
        shift: Factor of the points' positions, so that points of the same x stay apart. The line
            is where it belongs.
    """
    predicted = np.abs([row.predicted for row in rows])
    predicted[predicted == 0] = np.nan  # no place on a logarithmic axis
    means, stds = np.abs([row.mean for row in rows]), np.array([row.std for row in rows])
    dash = "_" if np.isfinite(predicted).sum() == 1 else None
    panel.plot(x, predicted, marker=dash, markersize=9, color=COLOURS[name], alpha=0.6)
    panel.errorbar(
        shift * np.asarray(x)[means > floor],
        means[means > floor],
        yerr=stds[means > floor],
        fmt="o",
        markersize=3,
        capsize=2,
        linewidth=1,
        color=COLOURS[name],
        label=label(name),
    )


def finish_log_axis(panel: Axes, floor: float = 0.0) -> None:
    """Make the y axis logarithmic, over at least a decade, so that it shows a power of ten."""
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, floor), high)
    widen_to_a_decade(panel)


def draw_legend(figure: Figure, panel: Axes) -> None:
    """Draw a legend above the figure: the strategies of ``panel`` and the closed form."""
    handles, names = panel.get_legend_handles_labels()
    above_titles = figure.subplotpars.top + 0.28 / figure.get_figheight()  # inches
    most = int(figure.get_figwidth() / INCHES_PER_NAME)
    count = len(names) + 1
    figure.legend(
        [*handles, Line2D([], [], color="0.5")],
        [*names, "closed form"],
        loc="lower center",
        bbox_to_anchor=(0.5, above_titles),
        ncols=-(-count // -(-count // most)),  # in rows of about the same length
        frameon=False,
        columnspacing=1.2,
    )


CAPTION = (
    "The student's error over T, one panel per variance: points are means over trials with their "
    "standard deviation, lines are the closed form. Below: how far every mean is from its closed "
    "form; the grey band holds deviations of up to five standard errors."
)
PANEL_COLUMNS = 3
TOLERATED = 5.0  # standard errors
NOTES = {
    "surrogate": "Mean ± standard deviation over trials of a - S, the student's operator minus the "
    "surrogate. The surrogate is the product of all teacher steps without those that contract "
    "where λ > 1. The lowest |mean| of each line is bold. Just above λ = 1 the surrogate jumps, so "
    "all strategies share its offset there.",
    "composite": "Mean ± standard deviation over trials of the student's operator minus the "
    "composite, the product of all teacher steps. The lowest |mean| of each line is bold.",
}


def table(rows: Sequence[SyntheticRow]) -> str:
    """Mean ± standard deviation in the paper's layout, the lowest |mean| of each line in bold."""
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    header = ["T", "λ", *map(label, strategies)]
    lines = []
    cells: dict[tuple[int, float], dict[str, SyntheticRow]] = {}
    for row in rows:
        cells.setdefault((row.num_steps, row.variance), {})[row.strategy] = row
    for (num_steps, variance), line in cells.items():
        best = min(abs(row.mean) for row in line.values())
        texts = [_cell(line[name], abs(line[name].mean) == best) for name in strategies]
        lines.append([str(num_steps), f"{variance:g}", *texts])
    return markdown_table(header, lines, "rr" + "l" * len(strategies))


def _cell(row: SyntheticRow, is_best: bool) -> str:
    text = f"{row.mean:.2e} ± {row.std:.1e}"
    return f"**{text}**" if is_best else text


def published_table(cells: Sequence[ComparedCell]) -> str:
    """Every compared cell with its deviation in published standard deviations."""
    header = ["T", "λ", "strategy", "measured", "published"]
    header += ["deviation / published std", "std ratio", ""]
    lines = [
        [
            str(cell.num_steps),
            f"{cell.variance:g}",
            label(cell.strategy),
            f"{cell.mean:.2e} ± {cell.std:.1e}",
            f"{cell.published_mean:.1e} ± {cell.published_std:.1e}",
            f"{cell.deviation:+.2f}",
            f"{cell.std_ratio:.2f}",
            _remark(cell),
        ]
        for cell in cells
    ]
    return markdown_table(header, lines, "rrlrrrrl")


def _remark(cell: ComparedCell) -> str:
    remarks = []
    if cell.known_off:
        remarks.append("published value known to be wrong")
    elif not cell.agrees:
        remarks.append("MEAN APART")
    if not cell.std_agrees:
        remarks.append("std beyond a factor 2")
    return ", ".join(remarks)


def published_verdict(cells: Sequence[ComparedCell]) -> str:
    """One sentence: how many cells agree with the published ones."""
    trusted = [cell for cell in cells if not cell.known_off]
    agreeing = sum(cell.agrees for cell in trusted)
    spreads = sum(cell.std_agrees for cell in cells)
    return (
        f"{agreeing} of {len(trusted)} means lie within max(3 published std, 5 %) of the "
        f"published ones, {len(cells) - len(trusted)} cells known to be wrong are not counted; "
        f"{spreads} of {len(cells)} standard deviations lie within a factor 2."
    )


def draw_errors(rows: Sequence[SyntheticRow], target: str) -> Figure:
    """Draw |a - S| over T, one panel per variance, and below them the deviation of every cell.

    Error bars of measured means are standard deviations over trials. Lines are predictions.
    """
    variances = list(dict.fromkeys(row.variance for row in rows))
    columns = min(PANEL_COLUMNS, len(variances))
    depth = -(-len(variances) // columns)
    with matplotlib.rc_context(STYLE):
        figure = NotebookFigure(figsize=(1.0 + 2.5 * columns, 2.1 * depth + 2.6))
        grid = figure.add_gridspec(
            depth + 1, columns, height_ratios=[1.0] * depth + [0.8], hspace=0.6, wspace=0.32
        )
        for i, variance in enumerate(variances):
            panel = figure.add_subplot(grid[i // columns, i % columns])
            _draw_variance(panel, [row for row in rows if row.variance == variance])
            panel.set_title(f"λ = {variance:g}")
            if i % columns == 0:
                panel.set_ylabel(f"|error to {target}|")
            if i + columns >= len(variances):
                panel.set_xlabel("teacher steps T")
        _draw_deviations(figure.add_subplot(grid[depth, :]), rows)
        draw_legend(figure, figure.axes[0])
    return figure


def _draw_variance(panel: Axes, rows: Sequence[SyntheticRow]) -> None:
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    for k, name in enumerate(strategies):
        line = sorted((row for row in rows if row.strategy == name), key=lambda row: row.num_steps)
        shift = 2.0 ** (0.09 * (k - (len(strategies) - 1) / 2))
        draw_errors_of(panel, name, [row.num_steps for row in line], line, shift=shift)
    ticks = sorted({row.num_steps for row in rows})
    panel.set_xscale("log", base=2)
    panel.set_xticks(ticks, [str(t) for t in ticks])
    panel.set_xlim(ticks[0] / 1.4, ticks[-1] * 1.4)
    panel.xaxis.minorticks_off()
    finish_log_axis(panel)


def _draw_deviations(panel: Axes, rows: Sequence[SyntheticRow]) -> None:
    """(measured mean - closed form) / standard error of every cell, side by side."""
    panel.axhspan(-TOLERATED, TOLERATED, color="0.93")
    panel.axhline(0.0, color="0.6", linewidth=0.8)
    for place, row in enumerate(rows):
        if row.std > 0:
            deviation = (row.mean - row.predicted) / row.standard_error
            panel.plot(place, deviation, "o", markersize=3, color=COLOURS[row.strategy])
    per_block = len(rows) // len({row.num_steps for row in rows})
    starts = range(0, len(rows), per_block)
    for start in starts[1:]:
        panel.axvline(start - 0.5, color="0.6", linewidth=0.8)
    panel.set_xticks(
        [start + (per_block - 1) / 2 for start in starts],
        [f"T = {rows[start].num_steps}" for start in starts],
    )
    panel.tick_params(axis="x", length=0)
    panel.margins(y=0.1)
    panel.set_xlim(-1, len(rows))
    panel.set_ylabel("deviation from closed\nform / standard error")


def report_tables(
    out: Path, rows: Sequence[SyntheticRow], compared: Sequence[ComparedCell], target: str
) -> None:
    """Write ``results.csv``, the figure, the summary and, if compared, ``comparison.csv``."""
    files = [out / RESULTS]
    write_rows(files[0], rows, SyntheticRow)
    parts = [NOTES[target], table(rows)]
    if compared:
        files.append(out / "comparison.csv")
        write_rows(files[-1], compared, ComparedCell)
        parts += [published_table(compared), published_verdict(compared)]
    figure = out / FIGURES / "errors.png"
    save_figure(draw_errors(rows, target), figure)
    write_summary(
        out, f"Signed error to the {target}", "\n\n".join(parts), [Picture(figure, CAPTION)], files
    )
