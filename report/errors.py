"""Measured errors beside their prediction on logarithmic axes."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from report.style import COLOURS, label

INCHES_PER_NAME = 1.45


class Measured(Protocol):
    """What a row of a table must have to be drawn."""

    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...
    @property
    def predicted(self) -> float: ...


def draw_errors_of(
    panel: Axes, name: str, x: Sequence[float], rows: Sequence[Measured], floor: float = 0.0
) -> None:
    """Draw one strategy: |mean| ± std as points, |predicted| as a line, or a dash if alone.

    Args:
        x: Where each row stands.
        floor: Means at or below it are left out.
    """
    predicted = np.abs([row.predicted for row in rows])
    predicted[predicted == 0] = np.nan  # no place on a logarithmic axis
    means, stds = np.abs([row.mean for row in rows]), np.array([row.std for row in rows])
    dash = "_" if np.isfinite(predicted).sum() == 1 else None
    panel.plot(x, predicted, marker=dash, markersize=9, color=COLOURS[name], alpha=0.6)
    panel.errorbar(
        np.asarray(x)[means > floor],
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
    """Make the y axis logarithmic, over a decade or more so that a power of ten is in sight."""
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    low = max(low, floor)
    stretch = max(1.0, np.sqrt(10.0 * low / high))
    panel.set_ylim(low / stretch, high * stretch)
    panel.yaxis.set_minor_formatter(NullFormatter())


def draw_legend(figure: Figure, panel: Axes) -> None:
    """Above the figure: the strategies of ``panel``, measured, and the closed form."""
    handles, names = panel.get_legend_handles_labels()
    above_titles = figure.subplotpars.top + 0.28 / figure.get_figheight()  # inches
    figure.legend(
        [*handles, Line2D([], [], color="0.5")],
        [*names, "closed form"],
        loc="lower center",
        bbox_to_anchor=(0.5, above_titles),
        ncols=min(len(names) + 1, int(figure.get_figwidth() / INCHES_PER_NAME)),
        frameon=False,
        columnspacing=1.2,
    )
