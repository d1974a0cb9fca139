"""Error against gradient steps for every strategy, measured and predicted."""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from distill.jobs import steps_per_merge
from distill.law import sgd_shrinkage
from distill.results import STUDENT_ROUNDING, ResultRow
from planner.budget import WHERE, Stage
from planner.plan import Plan, by_merge
from planner.problem import Problem
from planner.strategies import CANONICAL, plans_by_share
from report.equals import Group, equal_groups, legend_names, marker, note_equals
from report.style import (
    AXIS_LABELS,
    COLOURS,
    STYLE,
    NotebookFigure,
    fitting_legend,
    widen_to_a_decade,
)

Array = NDArray[np.float64]
SMALLEST_DRAWN = 1e-12
CLIPPED = "v"  # below a point: its value is below the smallest that is drawn
POINTS = 120  # per predicted curve


def draw_error_curves(rows: Sequence[ResultRow], problem: Problem, lr: float) -> Figure:
    """Draw W2**2 over gradient steps: one column of panels per budget, one row per target.

    Points are measured. Lines are the closed form of the canonical strategies, whose plan is the
    same at every stage. A planned strategy has another plan at each stage: faint dots lead from
    one of its points to the next. Strategies that are equal at every stage of a budget are drawn
    once.

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
    groups = {
        budget: equal_groups(
            {
                name: [
                    max(getattr(row, measure), SMALLEST_DRAWN)
                    for row in rows
                    if (row.strategy, row.budget) == (name, budget)
                    for measure in targets
                ]
                for name in dict.fromkeys(row.strategy for row in rows if row.budget == budget)
            }
        )
        for budget in budgets
    }
    floor = float(problem.distance(composite, problem.target))
    with matplotlib.rc_context(STYLE):
        size = (max(5.6, 0.6 + 3.4 * len(budgets)), 0.6 + 2.3 * len(targets))
        figure = NotebookFigure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(targets), len(budgets), squeeze=False, sharex="col", sharey="row"
        )
        for line, (measure, target) in zip(panels, targets.items(), strict=True):
            measured = [max(getattr(row, measure), SMALLEST_DRAWN) for row in rows]
            low, high = min(measured) / 6, 4 * max(measured)
            line[0].set_yscale("log")
            line[0].set_ylim(low, high)
            widen_to_a_decade(line[0])
            for panel, budget in zip(line, budgets, strict=True):
                here = [row for row in rows if row.budget == budget]
                for place, group in enumerate(groups[budget]):
                    _draw_group(panel, here, place, group, measure, target, problem, lr)
                _mark_rounding(panel, rows[0], len(problem.variances), low)
                if max(low, SMALLEST_DRAWN) < floor < high and measure == "w2_squared":
                    _mark_composite(panel, floor)  # none for denoisers, or if all variances <= 1
                _finish(panel)
            line[0].set_ylabel(f"W2² to the {names[measure]}")
        legend = legend_names(list(groups.values()))
        for panel, budget in zip(panels[0], budgets, strict=True):
            panel.set_title(f"same steps {WHERE[budget]}")
        note_equals(panels[0], groups.values(), legend)
        for panel, budget in zip(panels[-1], budgets, strict=True):
            panel.set_xlabel(AXIS_LABELS[budget])
        _add_legend(figure, legend, {row.strategy for row in rows})
    return figure


def _draw_group(
    panel: Axes,
    rows: Sequence[ResultRow],
    place: int,
    group: Group,
    measure: str,
    target: Array,
    problem: Problem,
    lr: float,
) -> None:
    name, budget = group[0], rows[0].budget
    line = [row for row in rows if row.strategy == name]
    line.sort(key=lambda row: row.steps_per_merge)
    scale = 1 if budget == "per_merge" else max(1, problem.schedule.num_steps - 1)
    x = np.array([scale * row.steps_per_merge for row in line])
    values = np.array([getattr(row, measure) for row in line])
    y = values.clip(SMALLEST_DRAWN)
    if budget == "best_split":
        panel.update_datalim([(x[0] / 3, y[0])])  # where the lines of other budgets begin
    if name in CANONICAL and budget != "best_split":  # there every stage has its own split
        stages = [row.steps_per_merge for row in line]
        lengths = np.unique(np.geomspace(stages[0] / 3, stages[-1], POINTS).round().clip(1))
        stages_drawn = [Stage(budget, int(n), rows[0].student_steps) for n in lengths]
        predicted = _predicted(name, stages_drawn, target, problem, lr)
        panel.plot(
            scale * lengths, predicted.clip(SMALLEST_DRAWN / 100), color=COLOURS[name], lw=1.2
        )
    else:
        panel.plot(x, y, ":", color=COLOURS[name], linewidth=0.8, alpha=0.6)
    panel.plot(x, y, linestyle="none", **marker(name, place))
    clipped = values < SMALLEST_DRAWN
    panel.plot(x[clipped], y[clipped] / 2.5, CLIPPED, color=COLOURS[name], markersize=5)


def _mark_rounding(panel: Axes, row: ResultRow, width: int, low: float) -> None:
    """Shade the errors that are rounding: those of students off by the last digit of float32."""
    floor = width * STUDENT_ROUNDING**2 if row.engine == "sgd" else 0.0
    if floor <= 2 * low:
        return
    panel.axhspan(low / 100, floor, color="0.93", linewidth=0, zorder=0)
    _name_below(panel, floor, "float32 rounding", "left")


def _mark_composite(panel: Axes, floor: float) -> None:
    """Mark the error that every strategy tends to: the composite's distance to the surrogate."""
    panel.axhline(floor, color="0.6", linewidth=0.8, zorder=0)
    # The curves end on the line, with a mark; what lies below the line lies at the left.
    _name_below(panel, floor, "composite", "right")


def _name_below(panel: Axes, height: float, text: str, side: Literal["left", "right"]) -> None:
    panel.annotate(
        text,
        (0.02 if side == "left" else 0.92, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=7,
        color="0.4",
    )


def _finish(panel: Axes) -> None:
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    steps = (1.0, 3.0) if high / low < 3e3 else (1.0,)  # a tick per half or per whole decade
    panel.xaxis.set_major_locator(LogLocator(subs=steps))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="y", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)


def _add_legend(figure: Figure, legend: Mapping[str, str], shown: set[str]) -> None:
    entries = [
        (Line2D([], [], linestyle="-" if name in CANONICAL else "none", **marker(name, 3)), text)
        for name, text in legend.items()
    ]
    entries.append((Line2D([], [], color="0.4", linewidth=1.2), "line: closed form"))
    point = Line2D([], [], linestyle="none", **(marker("vanilla", 3) | {"color": "0.4"}))
    entries.append((point, "point: measured"))
    if not shown <= set(CANONICAL):
        dots = Line2D([], [], color="0.4", linewidth=0.8, linestyle=":")
        entries.append((dots, "dots: a guide for the eye"))
    fitting_legend(figure, entries)


def _predicted(
    name: str, stages: Sequence[Stage], target: Array, problem: Problem, lr: float
) -> Array:
    """W2**2 of a canonical strategy to ``target`` in closed form, one number per stage."""
    plans = plans_by_share(CANONICAL[name], problem.num_steps, stages[0].student_steps)
    found = [steps_per_merge(plans, stage) for stage in stages]
    steps: dict[tuple[int, int], NDArray[np.int64]] = {}
    for place, plan in enumerate(plans):
        steps |= by_merge(plan, np.array([own[place] for own in found]).T)  # (n,) each

    def shrinkage_of(jump: Plan) -> Array:  # (n, d)
        moments = problem.weights[jump.start, jump.stop] * problem.second_moments[jump.start - 1]
        return sgd_shrinkage(moments, lr, steps[jump.start, jump.stop][:, None])

    operators = [problem.operator_of(plan, shrinkage_of) for plan in plans]
    # Where nothing is merged, no shrinkage gives the operators the axis of the stages.
    return np.broadcast_to(problem.distance(np.prod(operators, axis=0), target), len(stages))
