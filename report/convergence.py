"""The figure of the convergence study."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill.study_convergence import ConvergenceRow
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from planner.budget import BUDGETS
from report.markdown import markdown_table
from report.page import Picture
from report.style import AXIS_LABELS, STYLE, label, save_figure
from report.summary import write_summary
from report.synthetic import draw_errors_of, draw_legend, finish_log_axis

CAPTION = (
    "The student's error over gradient steps: rows are budgets, columns are variances. Points are "
    "means over trials with their standard deviation, lines are the closed form."
)
SMALLEST_DRAWN = 1e-9  # smaller errors are drawn here; log axes have no 0


def report_convergence(out: Path, rows: Sequence[ConvergenceRow], target: str) -> None:
    """Write the study's table, figure and summary into the run folder ``out``.

    Args:
        target: Name of what students are compared with.
    """
    write_rows(out / RESULTS, rows, ConvergenceRow)
    figure = out / FIGURES / "convergence.png"
    save_figure(draw_convergence(rows, target), figure)
    most = max(row.steps_per_merge for row in rows if row.budget == "per_merge")
    last = [row for row in rows if row.budget == "per_merge" and row.gradient_steps == most]
    variances = list(dict.fromkeys(row.variance for row in last))
    found = {(row.strategy, row.variance): f"{row.mean:.2e}" for row in last}
    lines = [
        [label(name), *(found[name, variance] for variance in variances)]
        for name in dict.fromkeys(row.strategy for row in last)
    ]
    table = markdown_table(["strategy", *(f"λ = {variance:g}" for variance in variances)], lines)
    length = f"{most:,} gradient steps per merge"
    text = f"Mean of the student's operator minus the {target}, after {length}:\n\n{table}"
    write_summary(out, "Error against training", text, [Picture(figure, CAPTION)], [out / RESULTS])


def draw_convergence(rows: Sequence[ConvergenceRow], target: str) -> Figure:
    """Draw |a - S| over gradient steps: one row of panels per budget, one column per variance.

    Lines are predictions, points are measured means with the standard deviation over trials.
    """
    variances = list(dict.fromkeys(row.variance for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 2.2 * len(variances), 5.2))
        panels = figure.subplots(
            len(BUDGETS), len(variances), squeeze=False, sharex="row", sharey="col"
        )
        for budget, line in zip(BUDGETS, panels, strict=True):
            for variance, panel in zip(variances, line, strict=True):
                here = [row for row in rows if (row.budget, row.variance) == (budget, variance)]
                _draw_panel(panel, here)
                panel.set_xlabel(AXIS_LABELS[budget])
            line[0].set_ylabel(f"|error to {target}|")
        for variance, panel in zip(variances, panels[0], strict=True):
            panel.set_title(f"λ = {variance:g}")
        draw_legend(figure, panels[0, 0])
        figure.subplots_adjust(hspace=0.35, wspace=0.3)
    return figure


def _draw_panel(panel: Axes, rows: Sequence[ConvergenceRow]) -> None:
    for name in dict.fromkeys(row.strategy for row in rows):
        line = sorted(
            (row for row in rows if row.strategy == name), key=lambda row: row.gradient_steps
        )
        draw_errors_of(panel, name, [row.gradient_steps for row in line], line, SMALLEST_DRAWN)
    panel.set_xscale("log")
    finish_log_axis(panel, SMALLEST_DRAWN)
