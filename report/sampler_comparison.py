"""The report of compare_samplers: quality and distance to the exact flow over steps, faces."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from torch import Tensor

from experiment.folder import FIGURES, RESULTS
from report.faces import DPI, draw_face_rows
from report.markdown import markdown_table
from report.page import Picture
from report.style import SAMPLER_LABELS, STYLE, draw_sampler, legend_above, save_figure
from report.summary import write_summary
from sampling.compare_samplers import FACE_STEPS, CompareRow, SamplerComparison

REFERENCE_LABELS = {
    "gaussian": "fitted Gaussian",
    "flow": "exact flow",
    "training": "training latents",
}
REFERENCE_DASHES = {"gaussian": "--", "flow": "-", "training": ":"}
NAMES = SAMPLER_LABELS | REFERENCE_LABELS
FRECHET = (
    "Held-out latents are the features that the VAE's encoder finds in held-out images. The "
    "Fréchet distance to them is FID's formula with these features instead of Inception's. It "
    "compares means and covariances alone, so the fitted Gaussian does well. Few samples make it "
    "larger. The training latents show how large: they are as many, and nothing is wrong with them."
)


def draw_sampler_comparison(rows: Sequence[CompareRow]) -> Figure:
    """Sliced W2 to held-out latents, and distance to the exact flow, against steps."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12)
        quality, distance = figure.subplots(1, 2)
        for name in SAMPLER_LABELS:
            here = [row for row in rows if row.name == name]
            if not here:  # the schedule does not allow it
                continue
            draw_sampler(quality, name, [row.steps for row in here], [row.w2 for row in here])
            if here[0].to_flow is not None:
                draw_sampler(
                    distance, name, [row.steps for row in here], [row.to_flow for row in here]
                )
        for row in rows:
            if row.name in REFERENCE_LABELS:
                quality.axhline(
                    row.w2,
                    color="0.45",
                    linewidth=0.9,
                    linestyle=REFERENCE_DASHES[row.name],
                    label=REFERENCE_LABELS[row.name],
                )
        quality.set_ylabel("sliced $W_2$ to held-out latents")
        distance.set_ylabel("distance to the exact flow, relative")
        for panel in (quality, distance):
            panel.set_xscale("log")
            panel.set_yscale("log")
            ticks = sorted({row.steps for row in rows if row.steps})
            panel.set_xticks(ticks, [str(steps) for steps in ticks])
            panel.minorticks_off()
        _draw_orders(distance, [row for row in rows if row.to_flow])
        # Ticks that lie outside do not stretch the axis, as those of set_yticks would.
        quality.yaxis.set_major_locator(
            FixedLocator((0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0))
        )
        quality.yaxis.set_major_formatter("{x:g}")
        for panel in (quality, distance):
            panel.set_xlabel("steps")
        legend_above(figure, quality)
    return figure


def _draw_orders(panel: Axes, rows: Sequence[CompareRow]) -> None:
    """Dotted lines with the slopes of orders 1 and 2 beside the errors of the first steps."""
    steps = np.array(sorted({row.steps for row in rows}), dtype=float)
    top = max(row.to_flow for row in rows if row.to_flow)
    for order in (1, 2):
        line = 1.6 * top * (steps[0] / steps) ** order
        panel.plot(steps, line, ":", color="0.5", linewidth=0.9)
        place = (steps[-1], line[-1])
        panel.annotate(
            f"order {order}", place, (4, 0), textcoords="offset points", fontsize=7, va="center"
        )


def sampler_table(rows: Sequence[CompareRow]) -> str:
    """The rows as a Markdown table."""
    header = (
        *("", "steps", "sliced W2 to held-out", "Fréchet distance to held-out"),
        *("distance to the exact flow", "ms per sample"),
    )
    lines = []
    for row in rows:
        distance = "" if row.to_flow is None else f"{row.to_flow:.4f}"
        steps, time = (str(row.steps), f"{row.milliseconds:.2f}") if row.steps else ("", "")
        frechet = "" if row.frechet is None else f"{row.frechet:.4g}"
        lines.append((NAMES[row.name], steps, f"{row.w2:.4f}", frechet, distance, time))
    return markdown_table(header, lines)


def report_sampler_comparison(
    out: Path, comparison: SamplerComparison, faces: dict[str, Tensor]
) -> None:
    """Draw, tabulate and summarise a comparison in the run folder ``out``."""
    figure, grid = (out / FIGURES / name for name in ("samplers.png", "faces.png"))
    save_figure(draw_sampler_comparison(comparison.rows), figure)
    title = f"{FACE_STEPS} steps; the same noise in every column"
    rows = {NAMES[name]: images for name, images in faces.items()}
    save_figure(draw_face_rows(rows, title), grid, DPI)
    table = sampler_table(comparison.rows)
    verdict = "Sliced W2² to the held-out latents:\n\n" + "\n".join(
        f"- {name}: fitted Gaussian {found.reference:.3e}, samples {found.samples:.3e}, difference "
        f"{found.reference - found.samples:.1e} with standard error {found.standard_error:.1e}"
        for name, found in comparison.margins.items()
    )
    text = "\n\n".join([FRECHET, *comparison.left_out, table, verdict])
    pictures = [
        Picture(
            figure,
            "Left: sliced W2 of every sampler's latents to held-out latents, over its steps; grey "
            "lines are what other sources of latents reach. Right: the distance of the "
            "deterministic samplers to the exact flow from the same noise.",
        ),
        Picture(grid, f"Faces of every sampler after {FACE_STEPS} steps.", is_photo=True),
    ]
    write_summary(out, "Samplers compared", text, pictures, [out / RESULTS])
