"""The noise estimator's one-step operators against the linear-Gaussian ones."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiment.folder import FIGURES, RESULTS
from report.markdown import markdown_table
from report.page import Picture
from report.style import STYLE, save_figure, whole_numbers_below
from report.summary import write_summary
from sampling.compare_operators import Operators

CAPTION = (
    "Left: the operator of every DDIM step for five eigenvalues of the latents' covariance. Right: "
    "how much of the linear steps' error the noise estimator removes."
)
SHOWN = (1.0, 0.75, 0.5, 0.25, 0.02)  # the eigenvalues drawn, as quantiles


def report_operators(out: Path, found: Operators) -> None:
    """Draw the operators of every step and write the summary into the run folder ``out``."""
    figure = out / FIGURES / "operators.png"
    save_figure(draw_operators(found), figure)
    lines = [[str(row.t), f"{row.from_full:.2%}", f"{row.from_diagonal:.2%}"] for row in found.rows]
    text = (
        "The share of a linear step's squared error that the noise estimator removes:\n\n"
        + markdown_table(["t", "full covariance", "planner's variances"], lines)
    )
    write_summary(
        out,
        "How Gaussian latents are for a sampler",
        text,
        [Picture(figure, CAPTION)],
        [out / RESULTS],
    )


def draw_operators(found: Operators) -> Figure:
    """Draw the operators, closed form and fitted, on the left, their differences on the right."""
    t = np.arange(1, len(found.closed_form) + 1)
    order = len(found.eigenvalues) - 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        operators, departures = figure.subplots(1, 2, width_ratios=[1.25, 1])
        # A sequential map for a quantity: colours of strategies would name strategies.
        colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(SHOWN)))
        for quantile, colour in zip(SHOWN, colours, strict=True):
            i = round(quantile * order)
            operators.plot(t, found.closed_form[:, i], color=colour, linewidth=1.2)
            operators.plot(
                t,
                found.fitted[:, i],
                ".",
                color=colour,
                markersize=4,
                label=f"{found.eigenvalues[i]:.2g}",
            )
        operators.set_xlabel("step $t$ (0 data, T noise)")
        operators.set_ylabel("operator of the step")
        whole_numbers_below(operators, t)
        operators.set_title("lines: linear-Gaussian $A_t$\ndots: fitted to the estimator")
        operators.legend(title="eigenvalue", fontsize=7, title_fontsize=7, frameon=False)
        for name, look, label in (
            ("from_diagonal", {"color": "0.6", "marker": "s"}, "of the planner's variances"),
            ("from_full", {"color": "black", "marker": "o"}, "of the full covariance"),
            ("error_removed", {"color": "black", "marker": "x", "ls": ":"}, "the same, held out"),
        ):
            values = [100 * getattr(row, name) for row in found.rows]
            departures.plot(
                t, values, linewidth=1.2, markersize=4, markerfacecolor="none", label=label, **look
            )
        whole_numbers_below(departures, t)
        departures.set_ylim(0, None)
        departures.set_xlabel("step $t$ (0 data, T noise)")
        departures.set_ylabel(
            "share of a linear step's squared\nerror that the estimator removes, %"
        )
        departures.legend(
            title="linear step", fontsize=7, title_fontsize=7, frameon=False,
            loc="lower center", bbox_to_anchor=(0.5, 1.0),
        )  # fmt: skip
    return figure
