"""Students of one training beside what the theory predicts."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill.jobs import Students
from planner.problem import Problem
from report.style import BLUE, STYLE, NotebookFigure, fitting_legend, label

SMALLEST_DRAWN = 1e-16


def draw_trained(students: Mapping[str, Students], problem: Problem) -> Figure:
    """Draw one row per strategy: W2**2 measured, in closed form, and in simulated runs.

    Args:
        students: Strategy -> its student; the first is drawn on top.
        problem: What the students were trained for.
    """
    with matplotlib.rc_context(STYLE):
        rows = max(2, len(students))
        figure = NotebookFigure(figsize=(6.4, 0.6 + 0.3 * rows), layout="constrained")
        panel = figure.subplots()
        for row, found in enumerate(students.values()):
            runs = found.w2_squared_runs.clip(SMALLEST_DRAWN)
            low, high = np.quantile(runs, [0.025, 0.975])
            first = row == 0
            panel.plot(
                [low, high],
                [row, row],
                color="0.75",
                linewidth=6,
                solid_capstyle="butt",
                label="95 % of simulated runs" if first else None,
            )
            for operator, marker, name in (
                (found.predicted, "|", "closed form"),
                (found.operator, "o", "measured"),
            ):
                error = max(float(problem.distance(operator, problem.target)), SMALLEST_DRAWN)
                panel.plot(
                    error,
                    row,
                    marker,
                    color="black" if marker == "|" else BLUE,
                    markersize=12 if marker == "|" else 5,
                    linestyle="none",
                    label=name if first else None,
                )
        panel.set_xscale("log")
        panel.set_yticks(range(len(students)), [label(name) for name in students])
        panel.invert_yaxis()
        panel.set_xlabel(f"$W_2^2$ to the {problem.parametrisation.target}")
        fitting_legend(figure, list(zip(*panel.get_legend_handles_labels(), strict=True)))
    return figure
