"""The figure of the convergence study."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill.convergence import BUDGETS, ConvergenceRow
from report.style import COLOURS, STYLE, label, save_figure

SMALLEST_DRAWN = 1e-9  # below it float32 training would only show its rounding
AXIS_LABELS = {"per_merge": "epochs a merge", "total": "epochs in total"}


def draw_convergence(path: Path, rows: Sequence[ConvergenceRow]) -> None:
    """Draw |a - S| over epochs: a row of panels a budget, a column a variance.

    Lines are predictions, points are measured means with the standard deviation over trials.
    """
    variances = list(dict.fromkeys(row.variance for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 2.2 * len(variances), 5.2))
        panels = figure.subplots(len(BUDGETS), len(variances), squeeze=False, sharey="col")
        for budget, line in zip(BUDGETS, panels, strict=True):
            for variance, panel in zip(variances, line, strict=True):
                here = [row for row in rows if (row.budget, row.variance) == (budget, variance)]
                _draw_panel(panel, here)
                panel.set_xlabel(AXIS_LABELS[budget])
            line[0].set_ylabel("|error to surrogate|")
        for variance, panel in zip(variances, panels[0], strict=True):
            panel.set_title(f"λ = {variance:g}")
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="lower center", bbox_to_anchor=(0.5, 0.93), ncols=4, frameon=False
        )
        figure.subplots_adjust(hspace=0.35, wspace=0.3)
        save_figure(figure, path)


def _draw_panel(panel: Axes, rows: Sequence[ConvergenceRow]) -> None:
    for name in dict.fromkeys(row.strategy for row in rows):
        line = sorted((row for row in rows if row.strategy == name), key=lambda row: row.epochs)
        epochs = [row.epochs for row in line]
        means = np.abs([row.mean for row in line])
        panel.plot(epochs, np.abs([row.predicted for row in line]), color=COLOURS[name], alpha=0.6)
        drawn = means > SMALLEST_DRAWN
        panel.errorbar(
            np.array(epochs)[drawn],
            means[drawn],
            yerr=np.array([row.std for row in line])[drawn],
            fmt="o",
            markersize=3,
            capsize=2,
            linewidth=1,
            color=COLOURS[name],
            label=label(name),
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(bottom=max(SMALLEST_DRAWN, panel.get_ylim()[0]))
