"""Figures of the theory: sweeps over the variance, phases, the ellipse, pairs of variances."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators
from diffusion.schedule import cosine_schedule
from planner.joint import plan_jointly
from planner.parametrisation import OPERATOR, Parametrisation
from planner.per_dimension import per_dimension_plans
from planner.plan import outline
from planner.problem import make_problem
from planner.regimes import (
    HYBRID,
    TIE,
    Sweep,
    consistency_threshold,
    plan_kinds,
    sweep,
    vanilla_threshold,
)
from report.plan_figures import draw_arcs
from report.style import COLOURS, STYLE, YELLOW, label, legend_above

COLUMN = 3.4  # inches, one column of a paper
VARIANCES = np.linspace(0.0, 3.0, 201)[1:]
SMALLEST_GAP = 1e-17  # gaps below are drawn here: they are the rounding of the operators
DASHES = {
    "vanilla": "-",
    "progressive": (0, (5, 1.5)),
    "sequential_consistency": (0, (3, 1, 1, 1)),
    "sequential_boot": (0, (1, 1)),
}


def draw_gap_and_arcs() -> Figure:
    """Fig. 2: gaps to the optimum at T = 32, s = 6.4, and the best plans at lam = 1.08 and 2."""
    schedule, train_time, shown = cosine_schedule(32), 6.4, np.array([1.08, 2.0])
    problem = make_problem(schedule, shown).with_training(train_time)
    plans = per_dimension_plans(problem, full_search=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 5.0), layout="constrained")
        curves, *arcs = figure.subplots(3, 1, height_ratios=[2.2, 1, 1])
        _draw_gaps(curves, sweep(schedule, VARIANCES, train_time))
        curves.set_xlabel("variance $\\lambda$")
        for panel, variance, plan in zip(arcs, shown, plans, strict=True):
            draw_arcs(panel, plan)
            panel.set_title(f"optimal plan at $\\lambda$ = {variance:g}")
            panel.set_xticks([0, 8, 16, 24, 32])
        arcs[-1].set_xlabel("step $t$ (0 data, 32 noise); fainter merges come first", fontsize=8)
        legend_above(figure, curves, "T = 32, s = 6.4", columns=2)
    return figure


def draw_w2_and_gap(swept: Sweep) -> Figure:
    """One of Figs. 7 to 12: W2**2 to the surrogate, and its gap to the optimum."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 4.2), layout="constrained")
        errors, curves = figure.subplots(2, 1, sharex=True)
        for name, operator in swept.canonical.items():
            errors.plot(
                swept.variances,
                np.maximum(swept.w2_squared(operator), SMALLEST_GAP),
                color=COLOURS[name],
                linestyle=DASHES[name],
                label=label(name),
            )
        optimum = np.maximum(swept.w2_squared(swept.optimum), SMALLEST_GAP)
        errors.plot(swept.variances, optimum, color="black", linewidth=0.8, label="optimum")
        errors.set_yscale("log")
        errors.set_ylabel("$W_2^2$ to the surrogate")
        _draw_gaps(curves, swept)
        curves.set_xlabel("variance $\\lambda$")
        legend_above(figure, errors, f"T = {swept.num_steps}, s = {swept.train_time:g}", columns=2)
    return figure


def _draw_gaps(panel: Axes, swept: Sweep) -> None:
    for name in swept.canonical:
        panel.plot(
            swept.variances,
            np.maximum(swept.gap(name), SMALLEST_GAP),
            color=COLOURS[name],
            linestyle=DASHES[name],
            label=label(name),
        )
    panel.axhspan(SMALLEST_GAP / 10, 100 * SMALLEST_GAP, color="0.92", linewidth=0)
    panel.text(
        1.5, 25 * SMALLEST_GAP, "rounding", fontsize=7, ha="center", va="center", color="0.4"
    )
    panel.set_yscale("log")
    panel.set_ylim(SMALLEST_GAP / 3, None)
    panel.set_ylabel("$W_2^2$ above the optimum")


Array = NDArray[np.float64]

PHASE_STEPS = 32
RANGES = ((0.0, 2.5), (0.98, 1.12))  # all of it, and the narrow regime above 1
RESOLUTION = 400
# Longer training brings all strategies within rounding of each other.
TRAIN_TIMES = np.geomspace(0.02, 6.4, 121)
NAMES = ("sequential_boot", "sequential_consistency", "vanilla")
PHASES = (*NAMES, HYBRID, TIE)
SHADES = [*(COLOURS[name] for name in NAMES), YELLOW, "0.8"]


def draw_phases() -> Figure:
    """Colour every (lam, s) by the optimal strategy, with lam_C and lam0* drawn in."""
    schedule = cosine_schedule(PHASE_STEPS)
    border = [consistency_threshold(schedule, time) for time in TRAIN_TIMES]
    shown = set()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 3.2), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
        for panel, (low, high) in zip(panels, RANGES, strict=True):
            variances = np.linspace(low, high, RESOLUTION)
            phases = np.stack([phases_at(variances, time) for time in TRAIN_TIMES])
            shown |= set(np.unique(phases).tolist())
            _colour(panel, variances, TRAIN_TIMES, phases)
            panel.plot(border, TRAIN_TIMES, color="black", linewidth=1.2)
            panel.set_xlim(low, high)
            panel.set_xlabel("variance $\\lambda$")
        _name(panels[1], "$\\lambda_C$", border[0])
        panels[0].axvline(vanilla_threshold(schedule), color="black", linewidth=1.2, ls="--")
        _name(panels[0], "$\\lambda_0^*$", vanilla_threshold(schedule))
        panels[0].set_yscale("log")
        panels[0].set_ylabel("training time $s$ per merge")
        panels[1].tick_params(axis="y", which="both", left=False)
        _add_phases_legend(figure, shown, f"optimal strategy, T = {PHASE_STEPS}", columns=2)
    return figure


CASES = {
    "operator\n(the paper)": OPERATOR,
    "denoiser,\nloss in $x_0$": Parametrisation("denoiser", "x_0"),
    "denoiser,\nloss in $z$": Parametrisation("denoiser", "z"),
    "denoiser,\nconstant speed": Parametrisation("denoiser", law="constant_speed"),
}
CASE_VARIANCES = np.geomspace(0.01, 10.0, 160)
CASE_TIMES = np.geomspace(0.02, 6.4, 80)


def draw_parametrisations() -> Figure:
    """Colour every (lam, s) by the optimal strategy, in one panel per parametrisation.

    Every merge trains for the time s. Operators are compared with the surrogate, denoisers with the
    composite.
    """
    shown = set()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2 * COLUMN, 2.9), layout="constrained")
        panels = figure.subplots(1, len(CASES), sharey=True)
        for panel, (title, case) in zip(panels, CASES.items(), strict=True):
            phases = np.stack([phases_at(CASE_VARIANCES, time, case) for time in CASE_TIMES])
            shown |= set(np.unique(phases).tolist())
            _colour(panel, CASE_VARIANCES, CASE_TIMES, phases)
            panel.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
            panel.set_title(title, fontsize=8)
            panel.set_xscale("log")
            panel.set_xlim(CASE_VARIANCES[0], CASE_VARIANCES[-1])
            panel.set_xlabel("variance $\\lambda$")
        panels[0].set_yscale("log")
        panels[0].set_ylabel("training time $s$ per merge")
        title = f"optimal strategy per merge, T = {PHASE_STEPS}; dotted: $\\lambda$ = 1"
        _add_phases_legend(figure, shown, title, columns=5)
    return figure


def _colour(panel: Axes, variances: Array, times: Array, phases: NDArray[np.intp]) -> None:
    panel.pcolormesh(
        variances,
        times,
        phases,
        cmap=ListedColormap(SHADES),
        vmin=-0.5,
        vmax=len(SHADES) - 0.5,
        shading="nearest",
        rasterized=True,
    )


def _add_phases_legend(figure: Figure, shown: set[int], title: str, columns: int) -> None:
    names = [*(label(name) for name in NAMES), "hybrid", "several within $10^{-13}$"]
    present = sorted(shown)
    figure.legend(
        [Patch(color=SHADES[phase]) for phase in present],
        [names[phase] for phase in present],
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=9,
    )


def _name(panel: Axes, text: str, variance: float) -> None:
    place = (variance, TRAIN_TIMES[0])
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    panel.annotate(text, place, xytext=(4, 5), textcoords="offset points", bbox=paper)


def phases_at(
    variances: Array, train_time: float, parametrisation: Parametrisation = OPERATOR
) -> NDArray[np.intp]:
    """Place in ``PHASES`` of the kind of plan that is optimal at each variance."""
    swept = sweep(cosine_schedule(PHASE_STEPS), variances, train_time, parametrisation)
    kinds = plan_kinds({name: swept.canonical[name] for name in NAMES}, swept.optimum)
    return np.array([PHASES.index(kind) for kind in kinds.tolist()])


ELLIPSE_STEPS = 6
MARGIN = 0.16  # on both sides of an ellipse together, in units of its axes
CONTRACTS, EXPANDS = COLOURS["vanilla"], COLOURS["sequential_consistency"]


def draw_ellipse() -> Figure:
    """v_t = (alpha_t sqrt(lam), sigma_t) and the projections A_t v_t of v_{t-1} on v_t."""
    shown = (0.3, 2.5)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.2), layout="constrained")
        widths = [np.sqrt(variance) + MARGIN for variance in shown]  # for equal scales
        panels = figure.subplots(1, 2, sharey=True, width_ratios=widths)
        for panel, variance in zip(panels, shown, strict=True):
            _draw(panel, variance)
        panels[0].set_ylabel("noise $\\sigma_t$")
        legend_above(figure, panels[1], columns=3)
    return figure


def _draw(panel: Axes, variance: float) -> None:
    fine, coarse = cosine_schedule(200), cosine_schedule(ELLIPSE_STEPS)
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


PAIR_STEPS, TRAIN_TIME = 16, 1.6
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


PAIR_ROWS = 5


def draw_pairs() -> Figure:
    """For every pair the plan of Algorithm 1, and the optimum by Pareto fronts where it differs."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2 * COLUMN, 4.9), layout="constrained")
        grids = [
            part.subplots(PAIR_ROWS, 2) for part in figure.subfigures(1, len(PAIRS) // PAIR_ROWS)
        ]
        for k, pair in enumerate(PAIRS):
            row = k % PAIR_ROWS
            panels = grids[k // PAIR_ROWS][row]
            problem = make_problem(cosine_schedule(PAIR_STEPS), np.array(pair)).with_training(
                TRAIN_TIME
            )
            found = {solver: plan_jointly(problem, solver) for solver in SOLVER_TITLES}
            same = len({outline(one.blocks[0]) for one in found.values()}) == 1
            for panel, (solver, one) in zip(panels, found.items(), strict=True):
                name = "both" if same else SOLVER_TITLES[solver]
                panel.set_title(f"{name}: {one.w2_squared:.3e}", fontsize=7.5, pad=1)
                draw_arcs(panel, one.blocks[0])
                bottom = row == PAIR_ROWS - 1
                panel.set_xticks([0, 4, 8, 12, 16], labels=None if bottom else [""] * 5)
            panels[1].set_visible(not same)
            panels[0].set_ylabel(
                f"$\\lambda$ =\n{pair[0]:.2f}\n{pair[1]:.2f}",
                rotation=0,
                fontsize=7.5,
                labelpad=10,
            )
            panels[0].yaxis.label.set_verticalalignment("center")
        figure.supxlabel(
            f"T = {PAIR_STEPS}, s = {TRAIN_TIME:g}; numbers: W2² to the surrogate; across: step t "
            f"(0 data, {PAIR_STEPS} noise); fainter merges come first",
            fontsize=8,
        )
    return figure
