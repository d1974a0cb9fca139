"""Error against gradient steps for every strategy, measured and predicted."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distill.jobs import steps_per_merge
from distill.law import sgd_shrinkage
from distill.results import ResultRow
from planner.budget import Stage
from planner.few_step import plans_by_share
from planner.plan import Plan
from planner.problem import Problem
from planner.strategies import CANONICAL
from planner.value import w2_squared
from report.style import AXIS_LABELS, COLOURS, MARKERS, STYLE, label, save_figure

Array = NDArray[np.float64]
SMALLEST_DRAWN = 1e-12
POINTS = 120  # per predicted curve


def draw_error_curves(path: Path, rows: Sequence[ResultRow], problem: Problem, lr: float) -> None:
    """Draw W2**2 over gradient steps: one column of panels per budget, one row per target.

    Points are measured. Lines are the closed form of the canonical strategies, whose plan is the
    same at every stage. A planned strategy has another plan at each stage: dotted lines join its
    points.

    Args:
        rows: One row per strategy, budget and training length, all of one K.
    """
    composite = problem.operators.prod(axis=0)
    names = {"w2_squared": problem.parametrisation.target}
    targets = {"w2_squared": problem.target}
    if problem.parametrisation.target != "composite":
        names["w2_squared_to_composite"] = "composite"
        targets["w2_squared_to_composite"] = composite
    budgets = list(dict.fromkeys(row.budget for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.6 * len(budgets), 0.6 + 2.5 * len(targets)))
        panels = figure.subplots(
            len(targets), len(budgets), squeeze=False, sharex="col", sharey="row"
        )
        for line, (measure, target) in zip(panels, targets.items(), strict=True):
            for panel, budget in zip(line, budgets, strict=True):
                here = [row for row in rows if row.budget == budget]
                _draw_panel(panel, here, measure, target, problem, lr)
            measured = [max(getattr(row, measure), SMALLEST_DRAWN) for row in rows]
            line[0].set_ylim(min(measured) / 4, 4 * max(measured))
            line[0].set_ylabel(f"$W_2^2$ to the {names[measure]}")
        for panel, budget in zip(panels[0], budgets, strict=True):
            panel.set_title(
                "same steps per merge" if budget == "per_merge" else "same steps in total"
            )
        floor = float(w2_squared(composite, problem.target))
        if floor > SMALLEST_DRAWN:  # 0 for denoisers, and where no variance exceeds 1
            _mark_composite(panels[0], floor)
        for panel, budget in zip(panels[-1], budgets, strict=True):
            panel.set_xlabel(AXIS_LABELS[budget])
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(),
            loc="lower center",
            bbox_to_anchor=(0.5, 0.92),
            ncols=4,
            frameon=False,
        )
        figure.subplots_adjust(wspace=0.08, hspace=0.1)
        save_figure(figure, path)


def _mark_composite(panels: Sequence[Axes], floor: float) -> None:
    """Mark the error that every strategy tends to: the composite's distance to the surrogate."""
    for panel in panels:
        panel.axhline(floor, color="0.6", linewidth=0.8, zorder=0)
    panels[0].annotate(
        "composite",
        (0.0, floor),
        xycoords=("axes fraction", "data"),
        xytext=(3, -9),
        textcoords="offset points",
        fontsize=7,
        color="0.4",
    )


def _draw_panel(
    panel: Axes,
    rows: Sequence[ResultRow],
    measure: str,
    target: Array,
    problem: Problem,
    lr: float,
) -> None:
    stages = sorted({row.steps_per_merge for row in rows})
    budget = rows[0].budget
    scale = max(1, problem.schedule.num_steps - 1) if budget == "total" else 1
    for i, name in enumerate(dict.fromkeys(row.strategy for row in rows)):
        line = [row for row in rows if row.strategy == name]
        line.sort(key=lambda row: row.steps_per_merge)
        x = [scale * row.steps_per_merge for row in line]
        y = [max(getattr(row, measure), SMALLEST_DRAWN) for row in line]
        look = {"color": COLOURS[name], "linewidth": 1.2}
        if name in CANONICAL:
            lengths = np.unique(np.geomspace(stages[0] / 3, stages[-1], POINTS).round().clip(1))
            stages_drawn = [Stage(budget, int(n), rows[0].student_steps) for n in lengths]
            predicted = _predicted(name, stages_drawn, target, problem, lr)
            panel.plot(scale * lengths, predicted.clip(SMALLEST_DRAWN / 10), **look)
        else:
            panel.plot(x, y, ":", **look)
        panel.plot(
            x,
            y,
            MARKERS[name],
            color=COLOURS[name],
            # Hollow and nested, so that strategies of the same error stay visible.
            markerfacecolor="none",
            markersize=11 - 1.1 * i,
            markeredgewidth=1.3,
            label=label(name),
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.grid(axis="y", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)


def _predicted(
    name: str, stages: Sequence[Stage], target: Array, problem: Problem, lr: float
) -> Array:
    """W2**2 of a canonical strategy to ``target`` in closed form, one number per stage."""
    plans = plans_by_share(CANONICAL[name], problem.num_steps, stages[0].student_steps)
    steps = np.array([steps_per_merge(plans, stage)[0] for stage in stages])

    def shrinkage_of(jump: Plan) -> Array:  # (n, d)
        weight = problem.weights[jump.start, jump.stop]
        return sgd_shrinkage(weight * problem.second_moments[jump.start - 1], lr, steps[:, None])

    operators = [problem.operator_of(plan, shrinkage_of) for plan in plans]
    return w2_squared(np.prod(operators, axis=0), target)
