"""Which plan each latent dimension got, over its variance."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from distill.kinds import HYBRID, TIE
from distill.stages import Stage
from planner.strategies import CANONICAL
from report.style import COLOURS, STYLE, label, save_figure, stage_label

KINDS = (*CANONICAL, HYBRID, TIE)
SHADES = [*(COLOURS[name] for name in CANONICAL), "#F0E442", "0.82"]
NAMES = {HYBRID: "hybrid", TIE: "several are equal"}


def draw_plan_kinds(
    path: Path,
    variances: NDArray[np.float64],
    kinds: Mapping[Stage, NDArray[np.str_]],
    num_steps: int,
) -> None:
    """Draw a strip a stage, a cell a coordinate, under the coordinates' sorted variances.

    Args:
        kinds: (budget, stage) -> a kind a coordinate, as of ``distill.kinds.plan_kinds``.
    """
    order = np.argsort(variances)[::-1]
    numbers = np.array([[KINDS.index(kind) for kind in strip[order]] for strip in kinds.values()])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.3 + 0.27 * len(kinds)))
        spectrum, strips = figure.subplots(
            2, 1, sharex=True, height_ratios=[1.5, 0.27 * len(kinds)], gridspec_kw={"hspace": 0.08}
        )
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
        strips.set_xlabel("latent coordinate, by variance")
        _legend(figure, np.unique(numbers))
        save_figure(figure, path)


def _legend(figure: Figure, shown: NDArray[np.intp]) -> None:
    figure.legend(
        [Patch(facecolor=SHADES[kind]) for kind in shown],
        [NAMES.get(KINDS[kind]) or label(KINDS[kind]) for kind in shown],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.9),
        ncols=len(shown),
        frameon=False,
    )
