"""Strategies whose values are equal are drawn once, under a name such as BOOT = greedy = beam."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from report.style import COLOURS, MARKERS, SHORT_LABELS, label

EQUAL = 1e-6  # relative: far below the width of a line, far above the rounding of float64

Group = tuple[str, ...]
"""Strategies of equal values. The first gives its colour and marker."""


def equal_groups(values: Mapping[str, ArrayLike]) -> list[Group]:
    """Group the strategies whose values agree within rounding, in their order.

    Args:
        values: Strategy -> its values, NaN where there is none.
    """
    groups: dict[str, list[str]] = {}
    arrays = {name: np.asarray(own, dtype=np.float64) for name, own in values.items()}
    for name, own in arrays.items():
        for first in groups:
            other = arrays[first]
            if own.shape == other.shape and np.allclose(own, other, EQUAL, 0.0, equal_nan=True):
                groups[first].append(name)
                break
        else:
            groups[name] = [name]
    return [tuple(group) for group in groups.values()]


def group_label(group: Group, between: str = " = ") -> str:
    """The name of a strategy, or the short names of equal ones."""
    if len(group) == 1:
        return label(group[0])
    return between.join(SHORT_LABELS[name] for name in group)


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


def note_equals(panel: Axes, groups: Iterable[Group], legend: Mapping[str, str]) -> None:
    """Name the equal strategies of a panel in small letters above it, below its title.

    Args:
        legend: From ``legend_names``; what it names together is not named again.
    """
    lines = [group_label(group) for group in groups if len(group) > 1]
    lines = [line for line in lines if line not in legend.values()]
    if not lines:
        return
    text = "drawn once: " + "; ".join(lines)
    panel.text(0.0, 1.02, text, transform=panel.transAxes, fontsize=6.5, color="0.35", va="bottom")
    panel.set_title(panel.get_title(), pad=15)


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
        first: group_label(groups[0]) if len(set(groups)) == 1 else label(first)
        for first, groups in members.items()
    }
