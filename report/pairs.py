"""Joint plans for pairs of variances, Algorithm 1's beside the exact one ([OM] Fig. 13)."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from diffusion.schedule import cosine_schedule
from planner.joint import plan_jointly
from planner.problem import pose
from report.arcs import draw_arcs
from report.style import STYLE, save_png_and_svg
from report.sweeps import COLUMN

NUM_STEPS, TRAIN_TIME = 16, 1.6
PAIRS = (
    (0.95, 1.05),
    (0.95, 1.25),
    (0.97, 1.10),
    (0.98, 1.30),
    (0.99, 1.40),
    (1.00, 1.20),
    (1.02, 1.35),
    (1.02, 1.80),
    (1.05, 1.50),
    (1.08, 1.60),
)


def draw_pairs(stem: Path) -> list[Path]:
    """A row a pair: the plan of Algorithm 1, and the optimum by Pareto fronts."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 8.2))
        grid = figure.subplots(len(PAIRS), 2)
        for row, pair in zip(grid, PAIRS, strict=True):
            problem = pose(cosine_schedule(NUM_STEPS), np.array(pair), TRAIN_TIME)
            for panel, solver in zip(row, ("greedy", "pareto"), strict=True):
                found = plan_jointly(problem, solver)
                draw_arcs(panel, found.blocks[0])
                panel.set_title(f"$W_2^2$ = {found.w2_squared:.3e}", fontsize=7, pad=1)
                panel.set_xticks([0, 4, 8, 12, 16] if row is grid[-1] else [])
            row[0].set_ylabel(f"{pair[0]:.2f}\n{pair[1]:.2f}", rotation=0, fontsize=8, va="center")
            row[0].yaxis.set_label_coords(-0.12, 0.4)
        for panel, name in zip(grid[0], ("Algorithm 1", "exact"), strict=True):
            panel.set_title(f"{name}\n{panel.get_title()}", fontsize=8, pad=1)
        figure.supxlabel(
            "step $t$ (0 data, 16 noise); lighter merges come first\n"
            f"pairs of $\\lambda$ on the left; T = {NUM_STEPS}, s = {TRAIN_TIME:g}",
            fontsize=8,
        )
        figure.tight_layout(pad=0.3, h_pad=0.5, w_pad=0.8)
        return save_png_and_svg(figure, stem)
