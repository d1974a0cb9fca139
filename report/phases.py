"""The phase diagram over variance and training time: which strategy is optimal where."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from diffusion.schedule import cosine_schedule
from planner.regimes import TOLERANCE, consistency_threshold, gaps, vanilla_threshold
from report.style import COLOURS, STYLE, label, save_png_and_svg
from report.sweeps import COLUMN

NUM_STEPS = 32
VARIANCES = np.linspace(0.0, 2.5, 401)[1:]
TRAIN_TIMES = np.geomspace(0.1, 10.0, 121)
NAMES = ("sequential_boot", "sequential_consistency", "vanilla")
HYBRID, TIE = 3, 4
SHADES = [*(COLOURS[name] for name in NAMES), "#F0E442", "0.8"]


def draw_phases(stem: Path) -> list[Path]:
    """Colour every (lam, s) by the optimal strategy, with lam_C and lam0* drawn in."""
    schedule = cosine_schedule(NUM_STEPS)
    phases = np.stack([_phases(time) for time in TRAIN_TIMES])
    border = [consistency_threshold(schedule, time) for time in TRAIN_TIMES]
    names = [*(label(name) for name in NAMES), "hybrid", "several within $10^{-13}$"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 3.3))
        panel = figure.subplots()
        panel.pcolormesh(
            VARIANCES,
            TRAIN_TIMES,
            phases,
            cmap=ListedColormap(SHADES),
            vmin=-0.5,
            vmax=len(SHADES) - 0.5,
            shading="nearest",
            rasterized=True,
        )
        panel.plot(border, TRAIN_TIMES, color="black", linewidth=1.2)
        panel.axvline(vanilla_threshold(schedule), color="black", linewidth=1.2, linestyle="--")
        panel.annotate("$\\lambda_C$", (border[0], 0.1), xytext=(3, 4), textcoords="offset points")
        panel.annotate(
            "$\\lambda_0^*$",
            (vanilla_threshold(schedule), 0.1),
            xytext=(3, 4),
            textcoords="offset points",
        )
        panel.set_yscale("log")
        panel.set_xlabel("variance $\\lambda$")
        panel.set_ylabel("training time $s$ a merge")
        figure.tight_layout(pad=0.3)
        figure.legend(
            [Patch(color=shade) for shade in SHADES],
            names,
            loc="lower center",
            bbox_to_anchor=(0.54, 0.99),
            ncols=2,
            frameon=False,
            fontsize=7.5,
            title=f"optimal strategy, T = {NUM_STEPS}",
            title_fontsize=8.5,
        )
        return save_png_and_svg(figure, stem)


def _phases(train_time: float) -> NDArray[np.intp]:
    """Place in ``NAMES`` of the one optimal strategy of each variance, or HYBRID, or TIE."""
    found = gaps(cosine_schedule(NUM_STEPS), VARIANCES, train_time)
    optimal = np.stack([found[name] <= TOLERANCE for name in NAMES])
    count = optimal.sum(axis=0)
    return np.where(count == 0, HYBRID, np.where(count > 1, TIE, optimal.argmax(axis=0)))
