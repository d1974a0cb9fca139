"""The error of every strategy over K, the steps of the student: a figure and tables."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from report.equals import Group, equal_groups, legend_names, marker, note_equals
from report.style import STYLE, NotebookFigure, fitting_legend, label, widen_to_a_decade

Errors = Mapping[str, Mapping[int, float]]
"""Strategy -> K -> W2**2."""


def draw_student_steps(
    lines: Sequence[Mapping[str, Errors]], target: str, title: str | None = None
) -> Figure:
    """Draw W2**2 of every strategy over K, on logarithmic axes; equal strategies once.

    Args:
        lines: For each row of panels: title of a panel -> the errors that it shows; errors of 0
            are left out. All rows have equally many panels.
        target: Name of what the students are compared with.
        title: Title of the legend.
    """
    columns = len(lines[0])
    size = (max(5.6, 0.6 + 2.1 * columns), 0.5 + 2.4 * len(lines))
    grouped = []
    with matplotlib.rc_context(STYLE):
        figure = NotebookFigure(figsize=size, layout="constrained")
        grid = figure.subplots(len(lines), columns, squeeze=False, sharey="row")
        for panels, own in zip(grid, lines, strict=True):
            for panel, (name, errors) in zip(panels, own.items(), strict=True):
                groups = equal_groups({n: _drawn(by_steps) for n, by_steps in errors.items()})
                _draw_panel(panel, errors, groups)
                panel.set_title(name)
                grouped.append(groups)
            widen_to_a_decade(panels[0])
            panels[0].set_ylabel(f"W2² to the {target}")
        for panel in grid[-1]:
            panel.set_xlabel("steps K of the student")
        legend = legend_names(grouped)
        for row, panels in enumerate(grid):
            note_equals(panels, grouped[row * columns : (row + 1) * columns], legend)
        entries = [
            (Line2D([], [], linestyle="-", **marker(name, 3)), text)
            for name, text in legend.items()
        ]
        fitting_legend(figure, entries, title)
    return figure


def _drawn(by_steps: Mapping[int, float]) -> list[float]:
    """The errors over K; those of 0, which have no place on the axis, are NaN."""
    return [by_steps[steps] or float("nan") for steps in sorted(by_steps)]


def _draw_panel(panel: Axes, errors: Errors, groups: Sequence[Group]) -> None:
    for place, group in enumerate(groups):
        by_steps = errors[group[0]]
        look = marker(group[0], place)
        panel.plot(sorted(by_steps), _drawn(by_steps), linestyle="-", linewidth=1.2, **look)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.margins(x=0.12)
    steps = sorted({steps for by_steps in errors.values() for steps in by_steps})
    panel.set_xticks(steps, [str(k) for k in steps])
    panel.xaxis.minorticks_off()
    panel.grid(axis="y", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)


def errors_table(errors: Errors, first: str) -> tuple[Sequence[str], list[list[str]]]:
    """Header and lines of a table of W2**2 with one column per K.

    Args:
        first: Header of the column of strategies.
    """
    steps = sorted({steps for by_steps in errors.values() for steps in by_steps})
    lines = [
        [label(name), *(f"{by_steps[k]:.6e}" if k in by_steps else "" for k in steps)]
        for name, by_steps in errors.items()
    ]
    return [first, *(f"K = {k}" for k in steps)], lines
