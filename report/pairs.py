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
SOLVER_TITLES = {"greedy": "Algorithm 1", "pareto": "exact"}
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
        figure = Figure(figsize=(COLUMN, 8.4), layout="constrained")
        grid = figure.subplots(len(PAIRS), 2)
        for k, (row, pair) in enumerate(zip(grid, PAIRS, strict=True)):
            problem = pose(cosine_schedule(NUM_STEPS), np.array(pair)).with_training(TRAIN_TIME)
            for panel, solver in zip(row, SOLVER_TITLES, strict=True):
                found = plan_jointly(problem, solver)
                draw_arcs(panel, found.blocks[0])
                heading = f"{SOLVER_TITLES[solver]}\n" if k == 0 else ""
                panel.set_title(f"{heading}$W_2^2$ = {found.w2_squared:.3e}", fontsize=7.5, pad=1)
                panel.set_xticks(
                    [0, 4, 8, 12, 16], labels=None if k == len(PAIRS) - 1 else [""] * 5
                )
            row[0].set_ylabel(
                f"$\\lambda$ =\n{pair[0]:.2f}\n{pair[1]:.2f}", rotation=0, fontsize=7.5, labelpad=10
            )
            row[0].yaxis.label.set_verticalalignment("center")
        figure.supxlabel(
            f"step $t$ (0 data, {NUM_STEPS} noise); lighter merges come first\n"
            f"T = {NUM_STEPS}, s = {TRAIN_TIME:g}",
            fontsize=8,
        )
        return save_png_and_svg(figure, stem)
