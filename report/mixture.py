"""Floors of mixture teachers, and how later steps change an early error: a figure and a table."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from neural.mixture import PIECES, ROUNDING, FloorRow
from report.markdown import markdown_table
from report.page import Picture
from report.style import STYLE, save_figure
from report.summary import write_summary

Colour = NDArray[np.float64]
"""Red, green, blue and opacity, (4,)."""
NOTE = (
    "Floor: least error found over students of {gates} gated affine pieces, over the variance of "
    "the composite. It is an upper estimate; below 1e-20 it is rounding. x_T → x_0 is the whole "
    "composite. The last two columns are about the teacher's steps after the first half. The "
    "amplification is the factor by which they change the squared error of the first half's "
    "student, where that error is more than rounding. The mean square slope is that factor for an "
    "error of equal size at all points."
)


CAPTION = (
    "Floors over the number of teacher steps that one student replaces, over T and over the number "
    "of its affine pieces; at the right, what later steps do to an early error. A triangle marks a "
    "floor that is rounding: it is drawn at 1e-20."
)


def report_mixture(out: Path, rows: Sequence[FloorRow]) -> None:
    """Tabulate, draw and sum up the floors in the run folder ``out``."""
    write_rows(out / RESULTS, rows, FloorRow)
    figure = out / FIGURES / "floors.png"
    save_figure(draw_floors(rows), figure)
    write_summary(
        out,
        "Floors of mixture teachers",
        summary(rows),
        [Picture(figure, CAPTION)],
        [out / RESULTS],
    )


def summary(rows: Sequence[FloorRow]) -> str:
    """The result in Markdown: one line per separation."""
    whole = rows[0].num_steps
    gates = sorted({row.gates for row in rows})
    header = ["separation", f"x_T → x_{whole - whole // 2}", f"x_{whole // 2} → x_0"]
    header += [f"x_T → x_0, {count} piece(s)" for count in gates]
    header += ["amplification", "mean square slope"]
    lines = []
    for separation in dict.fromkeys(row.separation for row in rows):
        here = [row for row in rows if row.separation == separation and row.num_steps == whole]
        halves = [row for row in here if row.length == whole // 2 and row.gates == PIECES]
        by_side = {row.side: row for row in halves}
        full = {row.gates: row for row in here if (row.side, row.length) == ("to_data", whole)}
        noisy = by_side["from_noise"]
        lines.append(
            [
                f"{separation:g}",
                *(f"{row.floor:.1e}" for row in (noisy, by_side["to_data"])),
                *(f"{full[count].floor:.1e}" if count in full else "–" for count in gates),
                "–" if isnan(noisy.amplification) else f"{noisy.amplification:.2f}",
                f"{noisy.rms_gain**2:.2f}",
            ]
        )
    return NOTE.format(gates=PIECES) + "\n\n" + markdown_table(header, lines)


def draw_floors(rows: Sequence[FloorRow]) -> Figure:
    """Draw floors over length, over T and over the number of pieces, and what errors become."""
    whole = rows[0].num_steps
    separations = list(dict.fromkeys(row.separation for row in rows))
    own = [row for row in rows if row.num_steps == whole]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        (noise, data, later), (steps, pieces, errors) = figure.subplots(2, 3)
        for separation, colour in zip(separations, _colours(len(separations)), strict=True):
            here = [row for row in own if row.separation == separation]
            for panel, side in ((noise, "from_noise"), (data, "to_data")):
                line = [row for row in here if row.side == side and row.gates == PIECES]
                _draw(panel, line, "length", "floor", colour, f"{separation:g}")
            early = [row for row in here if row.side == "from_noise" and row.length < whole]
            _draw(later, early, "stop", "rms_gain", colour)
            _draw(errors, early, "stop", "amplification", colour)
            full = [row for row in here if row.side == "to_data" and row.length == whole]
            _draw(pieces, full, "gates", "floor", colour)
        finest = [
            row
            for row in rows
            if (row.separation, row.side) == (separations[-1], "to_data")
            and (row.length, row.gates) == (row.num_steps, PIECES)
        ]
        _draw(steps, finest, "num_steps", "floor", _colours(len(separations))[-1])
        noise.legend(title="separation", fontsize=7, title_fontsize=7, frameon=False)
        titles = {
            noise: ("floor of $x_T \\to x_{T-k}$", "teacher steps k"),
            data: ("floor of $x_k \\to x_0$", "teacher steps k"),
            steps: (f"floor of all steps, separation {separations[-1]:g}", "teacher steps T"),
            pieces: ("floor of all steps", "affine pieces of the student"),
            later: ("root mean square slope of $x_m \\to x_0$", "step m of the error"),
            errors: ("squared error at $x_0$ / at $x_m$", "step m of the error"),
        }
        for panel, (title, x) in titles.items():
            panel.set_ylabel(title)
            panel.set_xlabel(x)
        errors.axhline(1.0, color="0.6", linewidth=0.8)
    return figure


def _colours(count: int) -> list[Colour]:
    """A sequential map for a quantity: colours of strategies would name strategies."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, count)))


def _draw(
    panel: Axes, rows: Sequence[FloorRow], x: str, y: str, colour: Colour, name: str | None = None
) -> None:
    places = [row.num_steps - row.length if x == "stop" else getattr(row, x) for row in rows]
    points = sorted(
        (place, max(float(getattr(row, y)), ROUNDING))
        for place, row in zip(places, rows, strict=True)
        if not isnan(getattr(row, y))
    )
    panel.plot(
        [place for place, _ in points],
        [value for _, value in points],
        "o-",
        color=colour,
        markersize=3,
        linewidth=1.2,
        label=name,
    )
    rounding = [place for place, value in points if value <= ROUNDING]
    panel.plot(rounding, [ROUNDING] * len(rounding), "v", color=colour, markersize=6)
    panel.set_yscale("log")
    if x in ("length", "num_steps"):
        panel.set_xscale("log", base=2)
