"""Strategies over the variance ([OM] Figs. 2 and 7 to 12)."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion.schedule import cosine_schedule
from planner.problem import pose
from planner.search import per_dimension_plans
from planner.sweep import Sweep, sweep
from report.arcs import draw_arcs
from report.style import COLOURS, STYLE, label, save_png_and_svg

COLUMN = 3.4  # inches, one column of a paper
VARIANCES = np.linspace(0.0, 3.0, 201)[1:]
ROUNDING = 1e-17  # gaps below are drawn here: they are the rounding of the operators
DASHES = {
    "vanilla": "-",
    "progressive": (0, (5, 1.5)),
    "sequential_consistency": (0, (3, 1, 1, 1)),
    "sequential_boot": (0, (1, 1)),
}


def draw_gap_and_arcs(stem: Path) -> list[Path]:
    """Fig. 2: gaps to the optimum at T = 32, s = 6.4, and the best plans at lam = 1.08 and 2."""
    schedule, train_time, shown = cosine_schedule(32), 6.4, np.array([1.08, 2.0])
    problem = pose(schedule, shown, train_time)
    plans = per_dimension_plans(problem.operators, problem.shrinkage, shown, full_search=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 5.0), layout="constrained")
        curves, *arcs = figure.subplots(3, 1, height_ratios=[2.2, 1, 1])
        _draw_gaps(curves, sweep(schedule, VARIANCES, train_time))
        curves.set_xlabel("variance $\\lambda$")
        for panel, variance, plan in zip(arcs, shown, plans, strict=True):
            draw_arcs(panel, plan)
            panel.set_title(f"optimal plan at $\\lambda$ = {variance:g}")
            panel.set_xticks([0, 8, 16, 24, 32])
        arcs[-1].set_xlabel("step $t$ (0 data, 32 noise); lighter merges come first", fontsize=8)
        _add_legend(figure, curves, "T = 32, s = 6.4")
        return save_png_and_svg(figure, stem)


def draw_w2_and_gap(stem: Path, swept: Sweep) -> list[Path]:
    """One of Figs. 7 to 12: W2**2 to the surrogate, and its gap to the optimum."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 4.2), layout="constrained")
        errors, curves = figure.subplots(2, 1, sharex=True)
        for name, operator in swept.canonical.items():
            errors.plot(
                swept.variances,
                np.maximum(swept.w2_squared(operator), ROUNDING),
                color=COLOURS[name],
                linestyle=DASHES[name],
            )
        optimum = np.maximum(swept.w2_squared(swept.optimum), ROUNDING)
        errors.plot(swept.variances, optimum, color="black", linewidth=0.8)
        errors.set_yscale("log")
        errors.set_ylabel("$W_2^2$ to the surrogate")
        _draw_gaps(curves, swept)
        curves.set_xlabel("variance $\\lambda$")
        _add_legend(
            figure, curves, f"T = {swept.num_steps}, s = {swept.train_time:g}; black: optimum"
        )
        return save_png_and_svg(figure, stem)


def _draw_gaps(panel: Axes, swept: Sweep) -> None:
    for name in swept.canonical:
        panel.plot(
            swept.variances,
            np.maximum(swept.gap(name), ROUNDING),
            color=COLOURS[name],
            linestyle=DASHES[name],
            label=label(name),
        )
    panel.axhspan(ROUNDING / 10, 100 * ROUNDING, color="0.92", linewidth=0)
    panel.text(1.5, 25 * ROUNDING, "rounding", fontsize=7, ha="center", va="center", color="0.4")
    panel.set_yscale("log")
    panel.set_ylim(ROUNDING / 3, None)
    panel.set_ylabel("$W_2^2$ above the optimum")


def _add_legend(figure: Figure, labelled: Axes, title: str) -> None:
    handles, names = labelled.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=9,
        handlelength=2.6,
    )
