"""The course of a training, from its ``metrics.jsonl``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.style import COLOURS, STYLE, save_figure

Panels = Mapping[str, Mapping[str, str]]


def names_of(panels: Panels) -> list[str]:
    """Of all lines, in order."""
    return [name for lines in panels.values() for name in lines]


def draw_training(path: Path, rows: Sequence[Mapping[str, float]], x: str, panels: Panels) -> None:
    """Draw a panel a quantity over the course of the training.

    Args:
        rows: What was recorded, in order.
        x: Name of what the rows are counted in.
        panels: Label of a panel's axis -> name of a line -> its label, empty for a single one.
    """
    places = [row[x] for row in rows]
    colours = list(COLOURS.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(3.6, 2.6 * len(panels)), 2.8), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, (quantity, lines) in zip(axes, panels.items(), strict=True):
            for (name, label), colour in zip(lines.items(), colours, strict=False):
                values = [row[name] for row in rows]
                marker = "." if len(rows) < 20 else ""
                panel.plot(places, values, color=colour, linewidth=1.3, marker=marker, label=label)
            panel.set_xlabel(x)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            panel.set_ylabel(quantity)
            if any(lines.values()):
                panel.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0))
        save_figure(figure, path)
