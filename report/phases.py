"""The phase diagram over variance and training time: which strategy is optimal where."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from diffusion.schedule import cosine_schedule
from planner.regimes import consistency_threshold, gaps, vanilla_threshold
from planner.value import OPERATOR_ROUNDING
from report.style import COLOURS, STYLE, label, save_png_and_svg
from report.sweeps import COLUMN

Array = NDArray[np.float64]

NUM_STEPS = 32
RANGES = ((0.0, 2.5), (0.98, 1.12))  # all of it, and the narrow regime above 1
RESOLUTION = 400
# Longer training brings all strategies within rounding of each other.
TRAIN_TIMES = np.geomspace(0.02, 6.4, 121)
NAMES = ("sequential_boot", "sequential_consistency", "vanilla")
HYBRID, TIE = 3, 4
SHADES = [*(COLOURS[name] for name in NAMES), "#F0E442", "0.8"]


def draw_phases(stem: Path) -> list[Path]:
    """Colour every (lam, s) by the optimal strategy, with lam_C and lam0* drawn in."""
    schedule = cosine_schedule(NUM_STEPS)
    border = [consistency_threshold(schedule, time) for time in TRAIN_TIMES]
    names = [*(label(name) for name in NAMES), "hybrid", "several within $10^{-13}$"]
    shown = set()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 3.2), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
        for panel, (low, high) in zip(panels, RANGES, strict=True):
            variances = np.linspace(low, high, RESOLUTION)
            phases = np.stack([phases_at(variances, time) for time in TRAIN_TIMES])
            shown |= set(np.unique(phases).tolist())
            panel.pcolormesh(
                variances,
                TRAIN_TIMES,
                phases,
                cmap=ListedColormap(SHADES),
                vmin=-0.5,
                vmax=len(SHADES) - 0.5,
                shading="nearest",
                rasterized=True,
            )
            panel.plot(border, TRAIN_TIMES, color="black", linewidth=1.2)
            panel.set_xlim(low, high)
            panel.set_xlabel("variance $\\lambda$")
        _name(panels[1], "$\\lambda_C$", border[0])
        panels[0].axvline(vanilla_threshold(schedule), color="black", linewidth=1.2, ls="--")
        _name(panels[0], "$\\lambda_0^*$", vanilla_threshold(schedule))
        panels[0].set_yscale("log")
        panels[0].set_ylabel("training time $s$ a merge")
        panels[1].tick_params(axis="y", which="both", left=False)
        present = sorted(shown)
        figure.legend(
            [Patch(color=SHADES[phase]) for phase in present],
            [names[phase] for phase in present],
            loc="outside upper center",
            ncols=2,
            frameon=False,
            fontsize=8,
            title=f"optimal strategy, T = {NUM_STEPS}",
            title_fontsize=9,
        )
        return save_png_and_svg(figure, stem)


def _name(panel: Axes, text: str, variance: float) -> None:
    place = (variance, TRAIN_TIMES[0])
    panel.annotate(text, place, xytext=(3, 4), textcoords="offset points")


def phases_at(variances: Array, train_time: float) -> NDArray[np.intp]:
    """Place in ``NAMES`` of the one optimal strategy of each variance, or HYBRID, or TIE."""
    found = gaps(cosine_schedule(NUM_STEPS), variances, train_time)
    optimal = np.stack([found[name] <= OPERATOR_ROUNDING for name in NAMES])
    count = optimal.sum(axis=0)
    return np.where(count == 0, HYBRID, np.where(count > 1, TIE, optimal.argmax(axis=0)))
