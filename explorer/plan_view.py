"""The plan view: arcs and errors of every strategy, the kind of each dimension, the phases."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bokeh.events import Tap
from bokeh.models import (
    BasicTicker,
    CategoricalColorMapper,
    ColumnDataSource,
    CustomJSTickFormatter,
    Div,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    LogTicker,
    Range1d,
    UIElement,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from explorer.settings import LR, PHASE_STEPS, PHASE_VARIANCES, Setting, phases, students_of
from planner.budget import Stage
from planner.plan import Plan, map_distinct, merges, num_merges, outline
from planner.plan_set import PER_DIMENSION, PlanSet
from planner.regimes import HYBRID, TIE, plan_kinds
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING
from report.equals import EQUAL
from report.style import COLOURS, YELLOW, label, stage_label

TEXT = "#7a8490"
"""A grey that reads on white and on black."""
SHADES = {name: COLOURS[name] for name in CANONICAL} | {HYBRID: YELLOW, TIE: "#b8bec6"}
KIND_NAMES = {name: label(name) for name in CANONICAL} | {HYBRID: "hybrid", TIE: "several equal"}
LEAST = 1e-26
"""Where W2 squared of nearly 0 stands on the logarithmic axis; below, all is rounding."""
# A number of an axis in a few letters.
SHORT = """
const plain = tick >= 0.001 && tick < 1000
return plain ? String(Number(tick.toPrecision(3))) : tick.toExponential(0)
"""
NAMES_WIDTH = 165
"""Pixels for the names of strategies, so that the arcs stay where they are as names change."""
ROW = 1.25
"""Height of a strategy's row. The longest arc has the height 1."""


@dataclass(frozen=True)
class ArcRow:
    """The arcs of one strategy, or of several with the same plans and errors."""

    name: str
    plans: tuple[Plan, ...]
    """One per step of the student."""
    w2_squared: float | None
    """None for the plan of some dimensions only."""
    merges: int
    is_joint: bool = True
    """Whether all dimensions have this plan."""


def arc_rows(found: PlanSet) -> list[ArcRow]:
    """The rows to draw: joint strategies with equal plans once, then the plans of dimensions."""
    width, rows = len(found.variances), dict[tuple, tuple[list[str], ArcRow]]()
    for name, own in found.strategies.items():
        if name == PER_DIMENSION:
            continue
        plans = own.plans[::width]
        row = ArcRow(label(name), plans, own.w2_squared, sum(map(num_merges, plans)))
        rows.setdefault(tuple(map(outline, plans)), ([], row))[0].append(label(name))
    joined = [
        ArcRow(" =\n".join(names), row.plans, row.w2_squared, row.merges)
        for names, row in rows.values()
    ]
    if PER_DIMENSION not in found.strategies:
        return joined
    own = found.strategies[PER_DIMENSION]
    columns = [own.plans[i::width] for i in range(width)]
    for name in reversed(CANONICAL):  # of equally good plans, the first of these is shown
        gaps = np.abs(found.strategies[name].operator - own.operator)
        for i in np.flatnonzero(gaps <= OPERATOR_ROUNDING * np.abs(own.operator)).tolist():
            columns[i] = found.strategies[name].plans[::width]
    outlines = map_distinct(outline, [plan for plans in columns for plan in plans])
    size = len(columns[0])
    shapes = [tuple(outlines[i * size : (i + 1) * size]) for i in range(width)]
    for place, (shape, count) in enumerate(Counter(shapes).most_common(2)):
        plans = columns[shapes.index(shape)]
        where = f"{label(PER_DIMENSION)}, {count} of {width}"
        error = own.w2_squared if place == 0 else None
        count_merges = sum(map(num_merges, plans))
        joined.append(ArcRow(where, plans, error, count_merges, is_joint=False))
    return joined


def arc_curves(rows: Sequence[ArcRow]) -> dict[str, list]:
    """The arcs as Bezier curves: the first row on top, later merges darker."""
    columns: dict[str, list] = {"left": [], "right": [], "base": [], "control": [], "colour": []}
    for place, row in enumerate(rows):
        base = (len(rows) - 1 - place) * ROW
        longest = max(plan.start - plan.stop for plan in row.plans)
        for plan in row.plans:
            jumps = list(merges(plan))
            for order, jump in enumerate(jumps):
                height = (jump.start - jump.stop) / longest
                columns["left"].append(jump.stop)
                columns["right"].append(jump.start)
                columns["base"].append(base)
                # A cubic curve reaches 3/4 of the height of its two control points.
                columns["control"].append(base + height / 0.75)
                columns["colour"].append(_shade(order, len(jumps)))
    return columns


def _shade(order: int, count: int) -> str:
    """Light blue for the first merge, dark for the last."""
    share = 1.0 if count == 1 else order / (count - 1)
    light, dark = np.array([158, 202, 225]), np.array([8, 81, 156])
    red, green, blue = (light + share * (dark - light)).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def kind_points(setting: Setting, found: PlanSet) -> dict[str, list]:
    """One point per dimension: its variance and the kind of its optimal plan, by variance."""
    names = [name for name in CANONICAL if name in found.strategies]
    if PER_DIMENSION not in found.strategies:
        return {"place": [], "variance": [], "kind": []}
    canonical = {name: found.strategies[name].operator for name in names}
    kinds = plan_kinds(canonical, found.strategies[PER_DIMENSION].operator)
    order = np.argsort(-found.variances)
    return {
        "place": list(range(1, len(order) + 1)),
        "variance": found.variances[order].tolist(),
        "kind": [KIND_NAMES[kinds[i]] for i in order],
    }


class PlanView:
    """The figures of the plan view. ``update`` moves them to a setting."""

    def __init__(self, on_phase: Callable[[float, int], None]) -> None:
        """Draw empty figures.

        Args:
            on_phase: Called with the variance and the gradient steps per merge of a click into the
                phase diagram.
        """
        self._arcs = ColumnDataSource(arc_curves([]))
        self._errors = ColumnDataSource(
            {"y": [], "w2": [], "w2_text": [], "name": [], "merges": []}
        )
        self._kinds = ColumnDataSource({"place": [], "variance": [], "kind": []})
        self._phases = ColumnDataSource({"kinds": []})
        self._here = ColumnDataSource({"x": [], "y": []})
        self._drawn: tuple | None = None
        self.verdict = Div(text="", name="verdict", sizing_mode="stretch_width")

        self.plans = _figure("step t (0: data, T: noise)", height=520)
        self.plans.bezier(
            x0="left", y0="base", cx0="left", cy0="control",
            x1="right", y1="base", cx1="right", cy1="control",
            line_color="colour", line_width=1.4, source=self._arcs,
        )  # fmt: skip
        self.plans.yaxis.axis_label = None
        self._names = FixedTicker()
        self.plans.yaxis.ticker = self._names
        self.plans.xaxis.ticker = BasicTicker(min_interval=1)
        self.plans.x_range, self.plans.y_range = Range1d(0, 1), Range1d(0, 1)
        self.plans.min_border_left = NAMES_WIDTH
        self.errors = _figure("W2² to the target", height=520, x_axis_type="log")
        self.errors.scatter("w2", "y", size=11, color=COLOURS["vanilla"], source=self._errors)
        self.errors.text(
            "w2",
            "y",
            "w2_text",
            x_offset=9,
            y_offset=4,
            text_color=TEXT,
            source=self._errors,
            text_font_size="11px",
        )
        self.errors.x_range = Range1d(0.1, 1)
        self.errors.xaxis.ticker = LogTicker(desired_num_ticks=5)
        self.errors.xaxis.formatter = CustomJSTickFormatter(code=SHORT)
        self.errors.yaxis.visible = False
        self.errors.y_range = self.plans.y_range
        self.errors.add_tools(
            HoverTool(tooltips=[("", "@name"), ("W2²", "@w2{0.0000e}"), ("merges", "@merges")])
        )
        names, shades = list(KIND_NAMES.values()), [SHADES[name] for name in KIND_NAMES]
        self.kinds = _figure("dimension, the largest variance first", height=400, y_axis_type="log")
        self.kinds.xaxis.ticker = BasicTicker(min_interval=1)
        self.kinds.title.text = "Optimal plan of each dimension"
        self.kinds.yaxis.axis_label = "variance λ"
        self.kinds.scatter(
            "place",
            "variance",
            size=7,
            color={
                "field": "kind",
                "transform": CategoricalColorMapper(factors=names, palette=shades),
            },
            source=self._kinds,
        )
        across, up = _edges(PHASE_VARIANCES), _edges(PHASE_STEPS)
        self.phases = _figure(
            "variance λ", height=400, x_axis_type="log", y_axis_type="log",
            x_range=Range1d(*across), y_range=Range1d(*up),
        )  # fmt: skip
        self.phases.title.text = "Optimal strategy by variance and training"
        self.legend = Div(text=_legend(), sizing_mode="stretch_width")
        self.phases.yaxis.axis_label = "gradient steps per merge"
        # The points are geometric sequences, so on logarithmic axes all cells are equally large.
        self.phases.image(
            "kinds", x=across[0], y=up[0], dw=across[1] - across[0], dh=up[1] - up[0],
            color_mapper=LinearColorMapper(palette=shades, low=-0.5, high=len(shades) - 0.5),
            source=self._phases,
        )  # fmt: skip
        self.phases.scatter(
            "x", "y", marker="x", size=9, color="black", line_width=2, source=self._here
        )
        self.phases.on_event(Tap, lambda event: on_phase(event.x, max(1, round(event.y))))

    @property
    def parts(self) -> dict[str, UIElement]:
        """Place on the page -> what stands there."""
        return {
            "verdict": self.verdict,
            "plans": self.plans,
            "errors": self.errors,
            "legend": self.legend,
            "phases": self.phases,
            "kinds": self.kinds,
        }

    def update(self, setting: Setting) -> None:
        """Show a setting.

        Raises:
            FileNotFoundError, ValueError: it cannot be planned.
        """
        found = students_of(setting)
        rows = arc_rows(found)
        places = [(len(rows) - 1 - place) * ROW for place in range(len(rows))]
        self._arcs.data = arc_curves(rows)
        edge = 0.01 * setting.num_steps
        self.plans.x_range.update(start=-edge, end=setting.num_steps + edge)
        self.plans.y_range.update(start=-0.15, end=len(rows) * ROW)
        # One tick per row, so that names stand beside their arcs.
        middles = [place + 0.35 for place in places]
        self._names.ticks = middles
        self.plans.yaxis.major_label_overrides = {
            middle: f"{row.name}\n{_facts(row)}" for middle, row in zip(middles, rows, strict=True)
        }
        valued = [
            (m, row) for m, row in zip(middles, rows, strict=True) if row.w2_squared is not None
        ]
        self._errors.data = {
            "y": [middle for middle, _ in valued],
            "w2": [max(row.w2_squared or 0.0, LEAST) for _, row in valued],
            "w2_text": [_number(row.w2_squared or 0.0, 3) for _, row in valued],
            "name": [_one_line(row.name) for _, row in valued],
            "merges": [row.merges for _, row in valued],
        }
        self.errors.x_range.update(**_room(self._errors.data["w2"]))
        self.errors.xaxis.axis_label = f"W2² to the {found.parametrisation.target}"
        self._kinds.data = kind_points(setting, found)
        self.verdict.text = verdict(found, rows)
        has_place = setting.budget == "per_merge" and setting.student_steps == 1
        self._here.data = {
            "x": list(setting.variances) if has_place else [],
            "y": [setting.steps_per_merge] * (len(setting.variances) if has_place else 0),
        }

    def has_phases(self, setting: Setting) -> bool:
        """Whether the phase diagram is that of a setting."""
        return self._drawn == (setting.num_steps, setting.schedule, setting.students)

    def update_phases(self, setting: Setting) -> None:
        """Draw the phase diagram of the setting's teacher and students.

        Raises:
            FileNotFoundError, ValueError: schedule or students cannot be used.
        """
        asked = (setting.num_steps, setting.schedule, setting.students)
        order = np.array(list(KIND_NAMES))
        numbers = (phases(*asked)[..., None] == order).argmax(axis=-1).astype(np.uint8)
        self._phases.data = {"kinds": [numbers]}
        self._drawn = asked


def _legend() -> str:
    """The colours of the kinds, and what the phase diagram shows."""
    squares = [
        f"<span style='white-space:nowrap'><span style='color:{SHADES[kind]}'>&#9632;</span> "
        f"{name}</span>"
        for kind, name in KIND_NAMES.items()
    ]
    return (
        f"{' &ensp; '.join(squares)}<br><small>The optimal plan of a dimension, for students of "
        "one step and equal training per merge; then crosses are the dimensions of the data. "
        "A click into the diagram sets the first variance and the gradient steps.</small>"
    )


def _edges(centres: NDArray[np.float64]) -> tuple[float, float]:
    """Where the cells around the points of a geometric sequence begin and end."""
    half = np.sqrt(centres[1] / centres[0])
    return float(centres[0] / half), float(centres[-1] * half)


def verdict(found: PlanSet, rows: Sequence[ArcRow]) -> str:
    """The lowest error of a plan for all dimensions, in a sentence."""
    joint = [row for row in rows if row.is_joint]
    least = min(row.w2_squared or 0.0 for row in joint)
    equal = [row for row in joint if (row.w2_squared or 0.0) <= least * (1 + EQUAL) + LEAST]
    best = min(equal, key=lambda row: row.merges)
    own = found.strategies.get(PER_DIMENSION)
    alone = "" if own is None else f" One plan per dimension: {_number(own.w2_squared, 4)}."
    return (
        f"<b>Lowest W2² of one plan for all dimensions: {_number(least, 4)} by "
        f"{_one_line(best.name)}</b> ({_merges_text(best)}).{alone}"
    )


def _room(values: Sequence[float]) -> dict[str, float]:
    """Ends of a logarithmic axis with room for the numbers beside the points.

    They are far enough apart that rounding does not look like a difference.
    """
    least, most = min(values), max(values)
    span = max(most / least, 3.0)
    return {"start": least / span**0.15, "end": least * span**1.4}


def _facts(row: ArcRow) -> str:
    error = "" if row.w2_squared is None else f", W2² {_number(row.w2_squared, 3)}"
    return _merges_text(row) + error


def _merges_text(row: ArcRow) -> str:
    return f"{row.merges} merge{'s' if row.merges != 1 else ''}"


def _number(w2_squared: float, digits: int) -> str:
    return "0" if w2_squared <= LEAST else f"{w2_squared:.{digits}g}"


def _one_line(name: str) -> str:
    return name.replace("\n", " ")


def steps_text(setting: Setting) -> str:
    """The training length in words."""
    stage = Stage(setting.budget, setting.steps_per_merge)
    length = stage_label(stage, setting.num_steps)
    return f"{length} (learning rate {LR:g}), s = {setting.train_time:.3g}"


def _figure(x_label: str, height: int, **options: object) -> figure:
    drawn = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        background_fill_alpha=0.0,
        border_fill_alpha=0.0,
        outline_line_alpha=0.0,
        **options,
    )
    drawn.xaxis.axis_label = x_label
    drawn.grid.grid_line_color = TEXT
    drawn.grid.grid_line_alpha = 0.15
    drawn.title.text_color = TEXT
    for axis in (*drawn.xaxis, *drawn.yaxis):
        axis.major_label_text_color = axis.axis_label_text_color = TEXT
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = TEXT
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_font_style = "normal"
    return drawn
