"""Merge plans as arcs over the time axis, lighter where a merge comes earlier."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Arc

from planner.plan import Plan, merges

LIGHTEST, DARKEST = 0.25, 1.0  # of the colour map


def draw_arcs(panel: Axes, plan: Plan) -> None:
    """Draw an arc from stop to start for every merge of ``plan``, in execution order."""
    jumps = list(merges(plan))
    shades = np.linspace(LIGHTEST, DARKEST, len(jumps)) if len(jumps) > 1 else [DARKEST]
    for jump, shade in zip(jumps, shades, strict=True):
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
    longest = plan.start - plan.stop
    panel.plot(np.arange(longest + 1), np.zeros(longest + 1), "|", color="0.35", markersize=3)
    panel.set_xlim(-0.5, longest + 0.5)
    panel.set_ylim(-0.04 * longest, 1.04 * longest)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.spines["bottom"].set_visible(False)
    panel.tick_params(axis="x", length=0, labelsize=7, pad=1)
