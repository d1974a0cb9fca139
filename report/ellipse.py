"""Signal-noise vectors on their ellipse, and what a step does to them ([OM] Fig. 1)."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion.gaussian import ddim_operators
from diffusion.schedule import cosine_schedule
from report.style import COLOURS, STYLE, save_png_and_svg
from report.sweeps import COLUMN

NUM_STEPS = 6
MARGIN = 0.16  # on both sides of an ellipse together, in units of its axes
CONTRACTS, EXPANDS = COLOURS["vanilla"], COLOURS["sequential_consistency"]


def draw_ellipse(stem: Path) -> list[Path]:
    """v_t = (alpha_t sqrt(lam), sigma_t) and the projections A_t v_t of v_{t-1} on v_t."""
    shown = (0.3, 2.5)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.0), layout="constrained")
        widths = [np.sqrt(variance) + MARGIN for variance in shown]  # for equal scales
        panels = figure.subplots(1, 2, sharey=True, width_ratios=widths)
        for panel, variance in zip(panels, shown, strict=True):
            _draw(panel, variance)
        panels[0].set_ylabel("noise $\\sigma_t$")
        handles, names = panels[1].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=8
        )
        return save_png_and_svg(figure, stem)


def _draw(panel: Axes, variance: float) -> None:
    fine, coarse = cosine_schedule(200), cosine_schedule(NUM_STEPS)
    panel.plot(fine.alpha * np.sqrt(variance), fine.sigma, color="0.75", linewidth=0.8)
    vectors = np.stack([coarse.alpha * np.sqrt(variance), coarse.sigma], axis=1)  # (T + 1, 2)
    operators = ddim_operators(coarse, np.array([variance]))  # (T, 1)
    feet = operators * vectors[1:]
    for vector in vectors:
        panel.plot([0, vector[0]], [0, vector[1]], color="0.75", linewidth=0.7)
    for before, foot in zip(vectors[:-1], feet, strict=True):
        panel.plot([before[0], foot[0]], [before[1], foot[1]], color="0.4", linewidth=0.7, ls=":")
    panel.plot(*vectors.T, "o", color="black", markersize=3, label="$v_t$")
    for colour, chosen, name in (
        (CONTRACTS, operators[:, 0] < 1, "$A_t v_t$, $A_t < 1$"),
        (EXPANDS, operators[:, 0] >= 1, "$A_t v_t$, $A_t \\geq 1$"),
    ):
        panel.plot(*feet[chosen].T, "D", color=colour, markersize=3, label=name)
    panel.annotate("$v_0$", vectors[0], xytext=(3, 2), textcoords="offset points", fontsize=8)
    panel.annotate("$v_T$", vectors[-1], xytext=(3, 2), textcoords="offset points", fontsize=8)
    panel.set_aspect("equal")
    panel.set_xlim(-0.3 * MARGIN, np.sqrt(variance) + 0.7 * MARGIN)
    panel.set_yticks([0.0, 0.5, 1.0])
    panel.set_title(f"$\\lambda$ = {variance:g}")
    panel.set_xlabel("signal $\\alpha_t \\sqrt{\\lambda}$")
