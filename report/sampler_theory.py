"""Figures of the samplers' theory: orders, local KL, marginals; and the claims as a table."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion.samplers import DETERMINISTIC, MARKOVIAN, SAMPLERS
from report.sampler_style import draw_sampler
from report.style import STYLE, save_png_and_svg
from sampling.claims import (
    KL_LENGTHS,
    KL_START,
    Claim,
    end_variance_of,
    kl_exponent,
    relative_excess,
)
from sampling.theory import VARIANCE, alternating_grid, endpoint_error, local_kl, smooth_grid

ORDER_STEPS = np.array([10, 20, 40, 80, 160, 320, 640])
MARGINAL_STEPS = np.array([10, 20, 40, 80, 160, 320, 640, 1280])
ROUNDING = 1e-13  # relative errors below are drawn here


def draw_orders(stem: Path) -> list[Path]:
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
        _legend(figure, panels[0], f"scalar Gaussian data, mean 0.7, variance {VARIANCE:g}")
        return save_png_and_svg(figure, stem)


def draw_local_kl(stem: Path) -> list[Path]:
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
        _legend(figure, panel, f"fitted exponents of $h$; variance {VARIANCE:g}", columns=1)
        return save_png_and_svg(figure, stem)


def draw_marginals(stem: Path) -> list[Path]:
    """Relative error of the final variance of Markovian samplers, for three kinds of data."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for panel, variance in zip(panels, (0.0, 0.25, 1.0), strict=True):
            for name in ("ddim", *MARKOVIAN):
                errors = [
                    relative_excess(end_variance_of(name), n, variance) for n in MARGINAL_STEPS
                ]
                draw_sampler(panel, name, MARGINAL_STEPS, np.maximum(np.abs(errors), ROUNDING))
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_title(f"data of variance {variance:g}")
            panel.set_xlabel("steps")
            panel.axhspan(ROUNDING / 10, 30 * ROUNDING, color="0.92", linewidth=0)
            panel.text(120, 6 * ROUNDING, "preserved", fontsize=7, ha="center", color="0.4")
        panels[0].set_ylim(ROUNDING / 4, 10)
        panels[0].set_ylabel("relative error of the\nfinal variance, absolute")
        _legend(figure, panels[0], "half log-SNR from -4 to 4, exact denoiser")
        return save_png_and_svg(figure, stem)


def claims_table(claims: Sequence[Claim]) -> str:
    """The claims as a Markdown table."""
    head = ("[SCH] eq.", "claim", "as printed", "corrected", "measured")
    rows = [head, (":---",) * len(head), *map(astuple, claims)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _legend(figure: Figure, labelled: Axes, title: str, columns: int = 4) -> None:
    handles, names = labelled.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=9,
    )
