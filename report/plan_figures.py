"""Figures of merge plans: arcs over the time axis, and the plan of each latent dimension."""

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import wrap

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from planner.budget import Stage
from planner.plan import Outline, Plan, Plans, merges, num_merges, outline
from planner.plan_set import PER_DIMENSION, PlanSet
from planner.regimes import HYBRID, TIE
from planner.strategies import CANONICAL
from report.equals import equation
from report.style import (
    COLOURS,
    SHORT_LABELS,
    STYLE,
    YELLOW,
    NotebookFigure,
    fitting_legend,
    label,
    stage_label,
    whole_numbers_below,
)

LIGHTEST, DARKEST = 0.25, 1.0  # places on the colour map


NOTHING = "nothing to merge"  # in place of arcs
MOST_STEPS = 80
"""Steps of a time axis on which every arc and every step is drawn."""
PLACES = 40
"""Places of a longer time axis."""


def grid_of(num_steps: int) -> int:
    """Steps per place of a time axis of T = ``num_steps``."""
    return 1 if num_steps <= MOST_STEPS else round(num_steps / PLACES)


def distinct_arcs(plan: Plan, num_steps: int) -> set[tuple[int, int]]:
    """(start, stop) of the merges to draw: the longest of those between the same two places.

    Args:
        num_steps: T of the time axis.
    """
    grid = grid_of(num_steps)
    longest: dict[tuple[int, int], Plan] = {}
    for jump in merges(plan):
        place = (jump.start // grid, jump.stop // grid)
        old = longest.get(place)
        if old is None or jump.start - jump.stop > old.start - old.stop:
            longest[place] = jump
    return {(jump.start, jump.stop) for jump in longest.values()}


def draw_arcs(panel: Axes, *plans: Plan) -> None:
    """Draw an arc from stop to start for every merge, in the execution order of each plan.

    Of arcs that would lie on each other, one is drawn; see ``distinct_arcs``.

    Args:
        plans: One per step of the student, noisiest first; they tile the steps from T to 0.
    """
    num_steps, longest = plans[0].start, max(plan.start - plan.stop for plan in plans)
    for plan in plans:
        jumps = list(merges(plan))
        shown = distinct_arcs(plan, num_steps)
        # From light to dark. A single merge is dark, and a teacher step has none.
        shades = np.linspace(DARKEST, LIGHTEST, len(jumps))[::-1]
        for jump, shade in zip(jumps, shades, strict=True):
            if (jump.start, jump.stop) not in shown:
                continue
            width = jump.start - jump.stop
            panel.add_patch(
                Arc(
                    ((jump.start + jump.stop) / 2, 0.0),
                    width,
                    2 * width,
                    theta2=180.0,
                    color=matplotlib.colormaps["Blues"](shade),
                    linewidth=0.9,
                )
            )
    marks = np.arange(0, num_steps + 1, grid_of(num_steps))
    panel.plot(marks, np.zeros(len(marks)), "|", color="0.35", markersize=3)
    margin = max(0.5, 0.005 * num_steps)
    panel.set_xlim(-margin, num_steps + margin)
    panel.set_ylim(-0.04 * longest, 1.04 * longest)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if not panel.patches:
        panel.text(num_steps / 2, longest / 2, NOTHING, fontsize=8, ha="center", color="0.4")
    panel.spines["left"].set_visible(False)
    panel.spines["bottom"].set_visible(False)
    panel.tick_params(axis="x", length=0, labelsize=7, pad=1)


ARCS = (
    "Each arc is a merge and spans the teacher's steps that it replaces, from noise at the right "
    "to data at the left. Earlier merges are fainter. Equal plans are drawn once."
)
COLUMNS = 4
LONGEST_LINE = 26  # letters of a title above an arc
LETTERS_OF_COLUMN = 22  # of bold letters as wide as a panel


Panel = tuple[str, Plan]


def draw_plan_arcs(plans: Mapping[str, PlanSet], variances: NDArray[np.float64]) -> Figure:
    """Draw one panel per plan: the canonical strategies, then what is planned for each budget.

    Args:
        plans: Title -> plans; all have the same T.
    """
    canonical = _canonical(plans)
    groups = [("", _once(canonical, []))] if canonical else []
    num_steps = next(iter(plans.values())).num_steps
    for name, plan_set in plans.items():
        panels = _once(_planned(plan_set, variances), canonical)
        if panels and num_steps > 1:  # a single step leaves no choice
            groups.append((f"planned for {name}", panels))
    rows = _rows_of(groups)
    across = max(sum(len(panels) for _, panels in row) for row in rows)
    with matplotlib.rc_context(STYLE):
        heights = [1.3 + 0.16 * _title_lines(row) for row in rows]
        size = (max(3.6, 1.8 * across), 0.2 + sum(heights))
        figure = NotebookFigure(figsize=size, layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            widths = [len(panels) for _, panels in row]
            left = across - sum(widths)
            columns = part.subfigures(
                1, len(row) + (left > 0), width_ratios=widths + [left] * (left > 0), squeeze=False
            )[0]
            for column, (title, panels) in zip(columns, row, strict=False):
                lines = _lines_of(title, panels)
                column.suptitle(lines, fontsize=8.5, fontweight="bold", x=0.01, ha="left")
                axes = column.subplots(1, len(panels), squeeze=False)[0]
                for panel, (name, plan) in zip(axes, panels, strict=True):
                    draw_arcs(panel, plan)
                    panel.set_title(f"{name}\n{_count(plan)}", fontsize=8)
        parts[-1].supxlabel(_time_axis(num_steps), fontsize=8)
    return figure


def _lines_of(title: str, panels: Sequence[Panel]) -> str:
    """The title of some panels side by side, in lines as wide as they are."""
    return "\n".join(wrap(title, LETTERS_OF_COLUMN * len(panels)))


def _title_lines(row: Sequence[tuple[str, Sequence[Panel]]]) -> int:
    """Lines of letters above the arcs of a row."""
    of_groups = max(_lines_of(title, panels).count("\n") + bool(title) for title, panels in row)
    return of_groups + max(name.count("\n") + 2 for _, panels in row for name, _ in panels)


def draw_few_step_arcs(plan_set: PlanSet, title: str) -> Figure:
    """Draw one row per strategy, with the arcs of all steps of the student on one time axis."""
    rows = _few_step_rows(plan_set)
    with matplotlib.rc_context(STYLE):
        figure = NotebookFigure(figsize=(7.2, 0.5 + 0.85 * len(rows)), layout="constrained")
        figure.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, plans) in zip(panels, rows, strict=True):
            draw_arcs(panel, *plans)
            for plan in plans[:-1]:
                panel.axvline(plan.stop, color="0.85", linewidth=0.8, zorder=0)
            panel.set_title(f"{name}, {_count(*plans)}", fontsize=8, loc="left", pad=2)
        panels[-1].set_xlabel(_time_axis(plan_set.num_steps), fontsize=8)
    return figure


def _time_axis(num_steps: int) -> str:
    thinned = "; of arcs that would lie on each other, one is drawn"
    axis = "step t of the teacher (0 data, T noise); fainter merges come first"
    return f"{axis}{thinned if grid_of(num_steps) > 1 else ''}"


def _few_step_rows(plan_set: PlanSet) -> list[tuple[str, Plans]]:
    """The plans of every joint strategy and those that ``_own_plans`` chooses, equal ones once."""
    width = len(plan_set.variances)
    joint = [name for name in plan_set.strategies if name != PER_DIMENSION]
    rows = [(SHORT_LABELS[name], plan_set.strategies[name].plans[::width]) for name in joint]
    own = plan_set.strategies[PER_DIMENSION].plans
    chosen = _own_plans([own[i::width] for i in range(width)], plan_set.variances)
    rows += [(f"{SHORT_LABELS[PER_DIMENSION]} ({name})", plans) for name, plans in chosen]
    groups: dict[tuple[Outline, ...], list[str]] = {}
    for name, plans in rows:
        groups.setdefault(tuple(map(outline, plans)), []).append(name)
    plans_of = {tuple(map(outline, plans)): plans for _, plans in rows}
    return [(" = ".join(names), plans_of[shape]) for shape, names in groups.items()]


def _own_plans(columns: Sequence[Plans], variances: NDArray[np.float64]) -> list[tuple[str, Plans]]:
    """The most common plans of a dimension, and of those with others, that of largest variance.

    Args:
        columns: For each dimension its plans, one per step of the student.
    """
    shapes = [tuple(map(outline, plans)) for plans in columns]
    shape, count = Counter(shapes).most_common(1)[0]
    panels = [(f"{count} of {len(columns)} dimensions", columns[shapes.index(shape)])]
    others = [i for i in range(len(columns)) if shapes[i] != shape]
    if others:
        i = max(others, key=lambda i: variances[i])
        panels.append((f"dimension with $\\lambda$ = {variances[i]:.3g}", columns[i]))
    return panels


def _once(panels: Sequence[Panel], known: Sequence[Panel]) -> list[Panel]:
    """One panel for all equal plans, with the names of all, and of the known plan they equal."""
    names: dict[Outline, list[str]] = {}
    for name, plan in panels:
        names.setdefault(outline(plan), []).append(name)
    for name, plan in known:
        if outline(plan) in names:
            names[outline(plan)].append(name)
    plans = {outline(plan): plan for _, plan in panels}
    return [(equation(of, LONGEST_LINE), plans[shape]) for shape, of in names.items()]


def _rows_of(groups: Sequence[tuple[str, list[Panel]]]) -> list[list[tuple[str, list[Panel]]]]:
    """Groups of panels side by side, as many as fit in a row."""
    rows: list[list[tuple[str, list[Panel]]]] = []
    for group in groups:
        if rows and sum(len(panels) for _, panels in [*rows[-1], group]) <= COLUMNS:
            rows[-1].append(group)
        else:
            rows.append([group])
    return rows


def _canonical(plans: Mapping[str, PlanSet]) -> list[tuple[str, Plan]]:
    strategies = next(iter(plans.values())).strategies
    return [(label(name), strategies[name].plans[0]) for name in CANONICAL if name in strategies]


def _planned(plan_set: PlanSet, variances: NDArray[np.float64]) -> list[tuple[str, Plan]]:
    """Choose the plans to draw.

    These are the joint plans, the most common per-dimension plan, and, of the coordinates with
    another plan, that of the largest variance.
    """
    joint = [name for name in plan_set.strategies if name not in (*CANONICAL, PER_DIMENSION)]
    chosen = joint[: COLUMNS - 2]
    panels = [(SHORT_LABELS[name], plan_set.strategies[name].plans[0]) for name in chosen]
    if PER_DIMENSION in plan_set.strategies:
        columns = [(plan,) for plan in plan_set.strategies[PER_DIMENSION].plans]
        panels += [(name, plan) for name, (plan,) in _own_plans(columns, variances)]
    return panels


def _count(*plans: Plan) -> str:
    number = sum(map(num_merges, plans))
    return f"{number} merge{'s' if number != 1 else ''}"


KINDS = (*CANONICAL, HYBRID, TIE)
SHADES = [*(COLOURS[name] for name in CANONICAL), YELLOW, "0.82"]
NAMES = {HYBRID: "hybrid", TIE: "several, equal within rounding"}


def draw_plan_kinds(
    variances: NDArray[np.float64],
    kinds: Mapping[Stage, NDArray[np.str_]],
    num_steps: int,
) -> Figure:
    """Draw one strip per stage, one cell per coordinate, below the sorted variances.

    Args:
        kinds: Stage -> one kind per coordinate, from ``planner.regimes.plan_kinds``.
    """
    order = np.argsort(variances)[::-1]
    numbers = np.array([[KINDS.index(kind) for kind in strip[order]] for strip in kinds.values()])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.0 + 0.27 * len(kinds)), layout="constrained")
        ratios = [1.5, 0.27 * len(kinds)]
        spectrum, strips = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
        places = np.arange(len(variances))
        spectrum.plot(places, variances[order], ".", color="black", markersize=4)
        spectrum.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
        spectrum.set_ylabel("variance $\\lambda$")
        spectrum.set_ylim(0.0, None)
        spectrum.tick_params(axis="x", length=0)
        strips.imshow(
            numbers,
            cmap=ListedColormap(SHADES),
            vmin=-0.5,
            vmax=len(KINDS) - 0.5,
            aspect="auto",
            interpolation="nearest",
        )
        strips.set_yticks(range(len(kinds)), [stage_label(stage, num_steps) for stage in kinds])
        strips.set_yticks(np.arange(len(kinds) - 1) + 0.5, minor=True)
        strips.grid(which="minor", axis="y", color="white", linewidth=2.5)
        strips.tick_params(axis="y", which="both", length=0)
        whole_numbers_below(strips, places)
        strips.set_xlabel("latent coordinates, the largest variance first")
        fitting_legend(figure, [(Patch(facecolor=SHADES[k]), _name(k)) for k in np.unique(numbers)])
    return figure


def _name(kind: int) -> str:
    return NAMES.get(KINDS[kind]) or label(KINDS[kind])
