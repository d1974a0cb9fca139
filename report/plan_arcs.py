"""The plans of a comparison as arcs: canonical ones, and what was planned for each budget."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planner.plan import Plan, merges, outline
from planner.plan_file import PER_DIMENSION, PlanSet
from planner.strategies import CANONICAL
from report.arcs import draw_arcs
from report.style import STYLE, label, save_figure

COLUMNS = 4


def draw_plan_arcs(
    path: Path, plans: Mapping[str, PlanSet], variances: NDArray[np.float64]
) -> None:
    """Draw a panel a plan: a line of canonical strategies, then a line of planned ones a budget.

    Args:
        plans: What was planned for -> plans, all of one T.
    """
    lines = [("", _canonical(plans))]
    for name, plan_set in plans.items():
        lines.append((f"planned for {name}", _planned(plan_set, variances)))
    lines = [(title, panels) for title, panels in lines if panels]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.75 * len(lines)), layout="constrained")
        parts = figure.subfigures(len(lines), 1, squeeze=False)[:, 0]
        for part, (title, panels) in zip(parts, lines, strict=True):
            part.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
            axes = part.subplots(1, COLUMNS, squeeze=False)[0]
            for panel, (name, plan) in zip(axes, panels, strict=False):
                draw_arcs(panel, plan)
                panel.set_title(f"{name}\n{_count(plan)}", fontsize=8)
            for panel in axes[len(panels) :]:
                panel.set_visible(False)
        save_figure(figure, path)


def _canonical(plans: Mapping[str, PlanSet]) -> list[tuple[str, Plan]]:
    strategies = next(iter(plans.values())).strategies
    return [(label(name), strategies[name].plans[0]) for name in CANONICAL if name in strategies]


def _planned(plan_set: PlanSet, variances: NDArray[np.float64]) -> list[tuple[str, Plan]]:
    """Joint plans; of the coordinates' own, the most common and, of the others, the one of the
    largest variance."""
    joint = [name for name in plan_set.strategies if name not in (*CANONICAL, PER_DIMENSION)]
    panels = [(label(name), plan_set.strategies[name].plans[0]) for name in joint[: COLUMNS - 2]]
    if PER_DIMENSION in plan_set.strategies:
        own = plan_set.strategies[PER_DIMENSION].plans
        shapes = [outline(plan) for plan in own]
        shape, count = Counter(shapes).most_common(1)[0]
        panels.append((f"{count} of {len(own)} dimensions", own[shapes.index(shape)]))
        others = [i for i in range(len(own)) if shapes[i] != shape]
        if others:
            i = max(others, key=lambda i: variances[i])
            panels.append((f"dimension with $\\lambda$ = {variances[i]:.3g}", own[i]))
    return panels


def _count(plan: Plan) -> str:
    number = sum(1 for _ in merges(plan))
    return f"{number} merge{'s' if number != 1 else ''}"
