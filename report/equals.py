"""Strategies whose values are equal are drawn once, under a name such as BOOT = greedy = beam."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from report.style import COLOURS, MARKERS, SHORT_LABELS, label

LEGEND_NAMES = 26  # letters of equal names on one line of a legend
SMALL, LETTER = 6.5, 0.05  # points, and the width of such a letter in inches
EQUAL = 1e-6  # relative: far below the width of a line, far above the rounding of float64

Group = tuple[str, ...]
"""Strategies of equal values. The first gives its colour and marker."""


def equal_groups(values: Mapping[str, ArrayLike], tolerance: float = EQUAL) -> list[Group]:
    """Group the strategies whose values agree within rounding, in their order.

    Args:
        values: Strategy -> its values, NaN where there is none.
        tolerance: Relative difference of values that are equal.
    """
    groups: dict[str, list[str]] = {}
    arrays = {name: np.asarray(own, dtype=np.float64) for name, own in values.items()}
    for name, own in arrays.items():
        for first in groups:
            other = arrays[first]
            if own.shape == other.shape and np.allclose(own, other, tolerance, 0.0, equal_nan=True):
                groups[first].append(name)
                break
        else:
            groups[name] = [name]
    return [tuple(group) for group in groups.values()]


def group_label(group: Group, longest: int | None = None) -> str:
    """The name of a strategy, or the short names of equal ones.

    Args:
        longest: Letters of a line of names; without it all are on one line.
    """
    if len(group) == 1:
        return label(group[0])
    names = [SHORT_LABELS[name] for name in group]
    return " = ".join(names) if longest is None else equation(names, longest)


def equation(names: Sequence[str], longest: int) -> str:
    """name = name = name, broken into lines before the equals sign.

    Args:
        longest: Letters of a line that holds more than one name.
    """
    lines = [names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 3 <= longest:
            lines[-1] += f" = {name}"
        else:
            lines.append(f"= {name}")
    return "\n".join(lines)


def marker(strategy: str, place: int) -> dict[str, Any]:
    """The look of a strategy's points, the ``place``-th that is drawn in a panel.

    They are hollow and nested, so that points of nearly the same value stay visible.
    """
    return {
        "marker": MARKERS[strategy],
        "color": COLOURS[strategy],
        "markerfacecolor": "none",
        "markersize": 10 - 1.1 * place,
        "markeredgewidth": 1.3,
    }


def note_equals(
    panels: Iterable[Axes], groups: Iterable[Sequence[Group]], legend: Mapping[str, str]
) -> None:
    """Name the equal strategies of each panel of a row in small letters, below its title.

    Args:
        groups: For each panel what it draws.
        legend: From ``legend_names``; what it names together is not named again.
    """
    notes = {panel: _note(panel, own, legend) for panel, own in zip(panels, groups, strict=True)}
    depth = max(len(lines) for lines in notes.values())
    for panel, lines in notes.items():
        panel.set_title(panel.get_title(), pad=6 + 8.5 * depth)
        panel.annotate(
            "\n".join(lines),
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=SMALL,
            color="0.35",
            va="bottom",
            in_layout=False,
        )


def _note(panel: Axes, groups: Sequence[Group], legend: Mapping[str, str]) -> list[str]:
    equal = [group for group in groups if len(group) > 1]
    named = {" ".join(text.split()) for text in legend.values()}
    lines = [line for line in map(group_label, equal) if line not in named]
    if lines and len(groups) == 1:
        return ["all are equal"]
    spec, figure = panel.get_subplotspec(), panel.get_figure()
    assert spec is not None
    assert isinstance(figure, Figure)
    width = 0.75 * figure.get_figwidth() / spec.get_gridspec().ncols  # inches
    return wrap("equal: " + "; ".join(lines), int(width / LETTER)) if lines else []


def legend_names(panels: Sequence[Sequence[Group]]) -> dict[str, str]:
    """First strategy of a group -> its name in a legend for several panels.

    Strategies that are equal in every panel that shows them are named together. Others are named
    alone: the notes of the panels tell where they are equal.
    """
    members: dict[str, list[Group]] = {}
    for groups in panels:
        for group in groups:
            members.setdefault(group[0], []).append(group)
    return {
        first: group_label(groups[0], LEGEND_NAMES) if len(set(groups)) == 1 else label(first)
        for first, groups in members.items()
    }
