"""The error of every strategy over K, the steps of the student: a figure and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.style import COLOURS, MARKERS, STYLE, label, legend_above, save_figure

Errors = Mapping[str, Mapping[int, float]]
"""Strategy -> K -> W2**2."""


def draw_student_steps(
    path: Path, lines: Sequence[Mapping[str, Errors]], target: str, title: str | None = None
) -> None:
    """Draw W2**2 of every strategy over K, on logarithmic axes.

    Args:
        lines: For each row of panels: title of a panel -> the errors that it shows; errors of 0
            are left out. All rows have equally many panels.
        target: Name of what the students are compared with.
        title: Title of the legend.
    """
    columns = len(lines[0])
    size = (5.6, 3.9) if columns == 1 else (0.6 + 2.1 * columns, 1.0 + 2.3 * len(lines))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(lines), columns, squeeze=False, sharey="row")
        for panels, own in zip(grid, lines, strict=True):
            for panel, (name, errors) in zip(panels, own.items(), strict=True):
                _draw_panel(panel, errors)
                panel.set_title(name)
            panels[0].set_ylabel(f"W2² to the {target}")
        for panel in grid[-1]:
            panel.set_xlabel("steps K of the student")
        legend_above(figure, grid[0, 0], title=title)
        save_figure(figure, path)


def _draw_panel(panel: Axes, errors: Errors) -> None:
    for place, (name, by_steps) in enumerate(errors.items()):
        drawn = {steps: error for steps, error in sorted(by_steps.items()) if error > 0.0}
        panel.plot(
            list(drawn),
            list(drawn.values()),
            color=COLOURS[name],
            marker=MARKERS[name],
            # Hollow and nested, so that strategies of the same error stay visible.
            markerfacecolor="none",
            markersize=9 - 0.8 * place,
            linewidth=1.2,
            label=label(name),
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
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
