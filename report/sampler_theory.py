"""Figures of the samplers' theory: orders, local KL, marginals, paths; the table of claims."""

from collections.abc import Sequence
from dataclasses import astuple

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Denoiser, mixture_denoiser
from diffusion.grid import uniform_log_snr_grid
from diffusion.samplers import DETERMINISTIC, MARKOVIAN, SAMPLERS, dpmpp_2m, walk
from experiment.seeds import walk_noise
from report.markdown import Cell, Table
from report.style import (
    SAMPLER_COLOURS,
    SAMPLER_LABELS,
    STYLE,
    draw_sampler,
    legend_above,
)
from sampling.exact_samplers import (
    VARIANCE,
    alternating_grid,
    endpoint_error,
    local_kl,
    smooth_grid,
)
from sampling.lecture_claims import (
    KL_LENGTHS,
    KL_START,
    Claim,
    end_variance_of,
    kl_exponent,
    relative_excess,
)

ORDER_STEPS = np.array([10, 20, 40, 80, 160, 320, 640])
MARGINAL_STEPS = np.array([10, 20, 40, 80, 160, 320, 640, 1280])
PRESERVED = 1e-11  # relative errors below are rounding


def draw_orders() -> Figure:
    """Endpoint error of the deterministic samplers against steps, on both kinds of grid."""
    spacings = {
        "uniform in the half log-SNR": smooth_grid,
        "steps alternating 1 : 2": alternating_grid,
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (title, spacing) in zip(panels, spacings.items(), strict=True):
            for name, update in DETERMINISTIC.items():
                errors = [endpoint_error(update, spacing(n)) for n in ORDER_STEPS]
                draw_sampler(panel, name, ORDER_STEPS, errors)
            for order, factor, place, offset in ((1, 0.125, 3, (0, 5)), (2, 0.004, 3, (-3, -11))):
                guide = factor * (ORDER_STEPS / 10.0) ** -order
                panel.plot(ORDER_STEPS, guide, color="0.6", linewidth=0.8, linestyle=":")
                panel.annotate(
                    f"order {order}",
                    (ORDER_STEPS[place], guide[place]),
                    fontsize=7,
                    color="0.4",
                    xytext=offset,
                    textcoords="offset points",
                    ha="left" if order == 1 else "right",
                )
            panel.set_title(title)
            panel.set_xlabel("steps")
            panel.set_xscale("log")
            panel.set_yscale("log")
        panels[0].set_ylabel("error at the end of the flow")
        legend_above(figure, panels[0], f"scalar Gaussian data, mean 0.7, variance {VARIANCE:g}")
    return figure


def draw_local_kl() -> Figure:
    """KL of one step against its length h, with fitted exponents in the legend."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 4.4), layout="constrained")
        panel = figure.subplots()
        for name, update in SAMPLERS.items():
            values = [local_kl(update, KL_START, h, VARIANCE) for h in KL_LENGTHS]
            draw_sampler(panel, name, KL_LENGTHS, values, f": {kl_exponent(name):.2f}")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(KL_LENGTHS, [f"{h:g}" for h in KL_LENGTHS])
        panel.minorticks_off()
        panel.set_xlabel("length $h$ of the step in the half log-SNR")
        panel.set_ylabel("KL to the exact marginal after one step")
        legend_above(figure, panel, f"fitted exponents of $h$; variance {VARIANCE:g}", columns=1)
    return figure


def draw_marginals() -> Figure:
    """Relative error of the final variance of Markovian samplers, for three kinds of data."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for panel, variance in zip(panels, (0.0, 0.25, 1.0), strict=True):
            errors = {
                name: np.abs(
                    [relative_excess(end_variance_of(name), n, variance) for n in MARGINAL_STEPS]
                )
                for name in ("ddim", *MARKOVIAN)
            }
            preserved = [name for name, own in errors.items() if (own < PRESERVED).all()]
            for name in ("ddim", *MARKOVIAN):
                drawn = np.full(len(MARGINAL_STEPS), np.nan) if name in preserved else errors[name]
                draw_sampler(panel, name, MARGINAL_STEPS, drawn)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_title(f"data of variance {variance:g}")
            panel.set_xlabel("steps")
            if preserved:
                names = "\n".join(SAMPLER_LABELS[name] for name in preserved)
                panel.text(
                    0.04, 0.04, f"no error but rounding:\n{names}", fontsize=7, va="bottom",
                    transform=panel.transAxes, color="0.35",
                )  # fmt: skip
        panels[0].set_ylim(3e-4, 20)
        panels[0].set_ylabel("relative error of the\nfinal variance, absolute")
        legend_above(figure, panels[0], "half log-SNR from -4 to 4, exact denoiser")
    return figure


def claims_table(claims: Sequence[Claim]) -> Table:
    """The claims as a table."""
    header = ("[SCH] eq.", "claim", "as printed", "corrected", "measured")
    lines = [tuple(map(Cell, astuple(claim))) for claim in claims]
    return Table(header, tuple(lines), alignment="lllll")


CENTRES = np.array([[1.6, 0.9], [-1.5, 1.0], [0.1, -1.7]])
SPREAD = 0.06  # variance of each mode
NUM_STEPS, NUM_ENDS = 12, 400
SMOOTH_PATHS, RANDOM_PATHS = 14, 3  # paths drawn, for samplers without and with noise


def mixture() -> Denoiser:
    """Three round modes of equal weight."""
    modes = [Eigenbasis(centre, np.full(2, SPREAD), np.eye(2)) for centre in CENTRES]
    return mixture_denoiser(torch.full((3,), 1 / 3, dtype=torch.float64), modes)


def draw_paths() -> Figure:
    """Paths of a few samples and the ends of many from the same noise, one panel per sampler."""
    denoise = mixture()
    grid = uniform_log_snr_grid(NUM_STEPS, q_max=20.0, q_min=0.05)
    fine = uniform_log_snr_grid(400, q_max=20.0, q_min=0.05)
    start, noise = (part.double() for part in walk_noise(range(NUM_ENDS), NUM_STEPS, 2))
    panels_of = {"exact flow": ("0.35", walk(dpmpp_2m, denoise, fine, start, None))} | {
        SAMPLER_LABELS[name]: (SAMPLER_COLOURS[name], walk(update, denoise, grid, start, noise))
        for name, update in SAMPLERS.items()
    }
    random = [SAMPLER_LABELS[name] for name in MARKOVIAN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        grid = figure.subplots(2, 4, sharex=True, sharey=True)
        for panel in grid[0]:
            panel.tick_params(axis="x", length=0)  # they would touch the titles below
        for panel, (title, (colour, states)) in zip(grid.flat, panels_of.items(), strict=True):
            paths = torch.stack([start, *states]).numpy()  # (N + 1, B, 2)
            shown = RANDOM_PATHS if title in random else SMOOTH_PATHS
            panel.plot(*paths[-1].T, ".", color=colour, markersize=1.5, alpha=0.5)
            panel.plot(paths[:, :shown, 0], paths[:, :shown, 1], color=colour, linewidth=0.6)
            panel.plot(*paths[0, :shown].T, "o", color="0.6", markersize=2)
            panel.plot(*CENTRES.T, "P", color="white", markeredgecolor="black", markersize=6)
            panel.set_title(title, fontsize=8)
            panel.set_aspect("equal")
            panel.set_xlim(-3.1, 3.1)
            panel.set_ylim(-3.1, 3.1)
        figure.suptitle(
            f"{NUM_STEPS} steps from the same noise (grey dots) to a mixture of three modes (white "
            f"crosses); {NUM_ENDS} ends",
            fontsize=8,
        )
        figure.supxlabel("first coordinate", fontsize=8)
        figure.supylabel("second coordinate", fontsize=8)
    return figure
