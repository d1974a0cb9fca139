"""The plan view: arcs and errors of every strategy, the kind of each dimension, the phases."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bokeh.events import Tap
from bokeh.models import (
    CategoricalColorMapper,
    ColumnDataSource,
    Div,
    FixedTicker,
    HoverTool,
    UIElement,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from explorer.settings import LR, PHASE_STEPS, PHASE_VARIANCES, Setting, phases, plans_of
from planner.plan import Plan, map_distinct, merges, num_merges, outline
from planner.plan_set import PER_DIMENSION, PlanSet
from planner.regimes import HYBRID, TIE, plan_kinds
from planner.strategies import CANONICAL
from report.style import COLOURS, YELLOW, label

TEXT = "#7a8490"
"""A grey that reads on white and on black."""
SHADES = {name: COLOURS[name] for name in CANONICAL} | {HYBRID: YELLOW, TIE: "#b8bec6"}
KIND_NAMES = {name: label(name) for name in CANONICAL} | {HYBRID: "hybrid", TIE: "several equal"}
CIRCLE = np.linspace(0.0, np.pi, 25)
SIDES = ("left", "right", "bottom", "top")
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
    outlines = map_distinct(outline, own.plans)
    shapes = [tuple(outlines[i::width]) for i in range(width)]
    for place, (shape, count) in enumerate(Counter(shapes).most_common(2)):
        plans = columns[shapes.index(shape)]
        where = f"{label(PER_DIMENSION)}, {count} of {width}"
        error = own.w2_squared if place == 0 else None
        count_merges = sum(map(num_merges, plans))
        joined.append(ArcRow(where, plans, error, count_merges, is_joint=False))
    return joined


def arc_lines(rows: Sequence[ArcRow]) -> dict[str, list]:
    """The arcs as lines for ``multi_line``: the first row on top, later merges darker."""
    xs, ys, shades = [], [], []
    for place, row in enumerate(rows):
        base = (len(rows) - 1 - place) * ROW
        longest = max(plan.start - plan.stop for plan in row.plans)
        for plan in row.plans:
            jumps = list(merges(plan))
            for order, jump in enumerate(jumps):
                middle, radius = (jump.start + jump.stop) / 2, (jump.start - jump.stop) / 2
                xs.append(middle + radius * np.cos(CIRCLE))
                ys.append(base + 2.0 * radius / longest * np.sin(CIRCLE))
                shades.append(_shade(order, len(jumps)))
    return {"xs": xs, "ys": ys, "colour": shades}


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
        self._arcs = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        self._errors = ColumnDataSource(
            {"y": [], "w2": [], "w2_text": [], "name": [], "merges": []}
        )
        self._kinds = ColumnDataSource({"place": [], "variance": [], "kind": []})
        self._phases = ColumnDataSource({name: [] for name in (*SIDES, "kind")})
        self._here = ColumnDataSource({"x": [], "y": []})
        self._drawn: tuple | None = None
        self.verdict = Div(text="", name="verdict", sizing_mode="stretch_width")

        self.plans = _figure("diffusion step t (0: data, T: noise)", height=520)
        self.plans.multi_line("xs", "ys", color="colour", line_width=1.4, source=self._arcs)
        self.plans.yaxis.axis_label = None
        self.plans.x_range.range_padding = 0.01
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
        self.errors.x_range.range_padding = 0.4
        self.errors.yaxis.visible = False
        self.errors.y_range = self.plans.y_range
        self.errors.add_tools(
            HoverTool(tooltips=[("", "@name"), ("W2²", "@w2{0.0000e}"), ("merges", "@merges")])
        )
        colours = CategoricalColorMapper(
            factors=list(KIND_NAMES.values()), palette=[SHADES[name] for name in KIND_NAMES]
        )
        self.kinds = _figure("dimension, by variance", height=400, y_axis_type="log")
        self.kinds.title.text = "Optimal plan of each dimension"
        self.kinds.yaxis.axis_label = "variance λ"
        self.kinds.scatter(
            "place",
            "variance",
            size=7,
            color={"field": "kind", "transform": colours},
            source=self._kinds,
        )
        self.phases = _figure("variance λ", height=400, x_axis_type="log", y_axis_type="log")
        self.phases.title.text = "Optimal strategy by variance and training"
        self.legend = Div(text=_legend(), sizing_mode="stretch_width")
        self.phases.yaxis.axis_label = "gradient steps per merge"
        self.phases.quad(
            **{side: side for side in SIDES},
            color={"field": "kind", "transform": colours},
            line_color={"field": "kind", "transform": colours},
            source=self._phases,
        )
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
            ValueError: it cannot be planned.
        """
        found = plans_of(setting)
        rows = arc_rows(found)
        places = [(len(rows) - 1 - place) * ROW for place in range(len(rows))]
        self._arcs.data = arc_lines(rows)
        # One tick per row, so that names stand beside their arcs.
        middles = [place + 0.35 for place in places]
        self.plans.yaxis.ticker = FixedTicker(ticks=middles)
        self.plans.yaxis.major_label_overrides = {
            middle: f"{row.name}\n{row.merges} merge{'s' if row.merges != 1 else ''}"
            for middle, row in zip(middles, rows, strict=True)
        }
        valued = [
            (m, row) for m, row in zip(middles, rows, strict=True) if row.w2_squared is not None
        ]
        self._errors.data = {
            "y": [middle for middle, _ in valued],
            "w2": [max(row.w2_squared or 0.0, 1e-30) for _, row in valued],
            "w2_text": [f"{row.w2_squared:.3g}" for _, row in valued],
            "name": [_one_line(row.name) for _, row in valued],
            "merges": [row.merges for _, row in valued],
        }
        self.errors.xaxis.axis_label = f"W2² to the {found.parametrisation.target}"
        self._kinds.data = kind_points(setting, found)
        self.verdict.text = verdict(found, rows)
        shown = np.array(setting.variances)
        keep = (shown >= PHASE_VARIANCES[0]) & (shown <= PHASE_VARIANCES[-1])
        self._here.data = {
            "x": shown[keep].tolist(),
            "y": [setting.steps_per_merge] * int(keep.sum()),
        }

    def update_phases(self, setting: Setting) -> None:
        """Draw the phase diagram of the setting's teacher and students.

        Raises:
            ValueError: schedule or students cannot be used.
        """
        asked = (setting.num_steps, setting.schedule, setting.students)
        if asked == self._drawn:
            return
        kinds = phases(*asked)
        across, up = _edges(PHASE_VARIANCES), _edges(PHASE_STEPS)
        self._phases.data = {
            "left": np.tile(across[:-1], len(PHASE_STEPS)),
            "right": np.tile(across[1:], len(PHASE_STEPS)),
            "bottom": np.repeat(up[:-1], len(PHASE_VARIANCES)),
            "top": np.repeat(up[1:], len(PHASE_VARIANCES)),
            "kind": [KIND_NAMES[kind] for kind in kinds.ravel()],
        }
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
        "one step and equal training per merge. Crosses are the dimensions of the data. A click "
        "into the diagram sets the first variance and the gradient steps.</small>"
    )


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of the cells around points of a geometric sequence."""
    half = np.sqrt(centres[1] / centres[0])
    return np.append(centres / half, centres[-1] * half)


def verdict(found: PlanSet, rows: Sequence[ArcRow]) -> str:
    """The lowest error of a plan for all dimensions, in a sentence."""
    joint = [row for row in rows if row.is_joint]
    best = min(joint, key=lambda row: (row.w2_squared or 0.0, row.merges))
    own = found.strategies.get(PER_DIMENSION)
    alone = "" if own is None else f" One plan per dimension: {own.w2_squared:.4g}."
    return (
        f"<b>Lowest W2² of one plan for all dimensions: {best.w2_squared:.4g} by "
        f"{_one_line(best.name)}</b> ({best.merges} merges).{alone}"
    )


def _one_line(name: str) -> str:
    return name.replace("\n", " ")


def steps_text(setting: Setting) -> str:
    """The training length in words."""
    per = f"{setting.steps_per_merge:,} gradient steps per merge (learning rate {LR:g})"
    if setting.budget == "total":
        total = setting.steps_per_merge * max(1, setting.num_steps - 1)
        per = f"{total:,} gradient steps in total (learning rate {LR:g})"
    return f"{per}, s = {setting.train_time:.3g}"


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
