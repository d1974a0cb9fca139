"""The latent spectrum: covariance heatmap and sorted variances ([OM] Fig. 14)."""

from copy import copy
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from report.markdown import markdown_table
from report.page import Picture
from report.style import BLUE, STYLE, save_figure, whole_numbers_below
from report.summary import write_summary
from vae.attributes import ATTRIBUTES_FILE, Directions, load_directions
from vae.latents import LATENTS_FILE, Latents, describe

MOST_CELLS = 512  # rows of the heatmap; there are not more pixels
# Printed name, key in what ``vae.latents.describe`` returns, format.
COVARIANCE_FACTS = (
    ("off-diagonal energy", "off_diagonal_energy", "{:.1%}"),
    ("largest correlation", "largest_correlation", "{:.2f}"),
    ("variances above 1", "variances_above_1", "{:.0f}"),
    ("smallest variance", "smallest_variance", "{:.3g}"),
    ("largest variance", "largest_variance", "{:.3g}"),
    ("total variance", "total_variance", "{:.3g}"),
)


@dataclass(frozen=True)
class CoordinateRow:
    """A row of ``results.csv``: one latent coordinate over all images."""

    coordinate: int
    mean: float
    variance: float


def report_latents(out: Path, latents: Latents) -> None:
    """Write the latents' table, figure and summary into the run folder ``out``."""
    columns = (latents.mean.tolist(), latents.variances.tolist())
    rows = [CoordinateRow(i, *pair) for i, pair in enumerate(zip(*columns, strict=True))]
    write_rows(out / RESULTS, rows, CoordinateRow)
    assert latents.covariance is not None  # encode_latents computes it
    facts = describe(latents.covariance)
    figure = out / FIGURES / "covariance.png"
    save_figure(draw_latents(latents.covariance.numpy(), facts), figure)
    lines = [["images", f"{latents.count:,}"]]
    lines += [[name, shape.format(facts[field])] for name, field, shape in COVARIANCE_FACTS]
    text, files = markdown_table(["", ""], lines), [out / RESULTS, out / LATENTS_FILE]
    if (out / ATTRIBUTES_FILE).exists():
        files.append(out / ATTRIBUTES_FILE)
        text += f"\n\n{attribute_table(load_directions(files[-1]))}"
    picture = Picture(figure, "Covariance of the latents, sorted by variance, and the variances.")
    write_summary(out, "Encoded latents", text, [picture], files)


def attribute_table(found: Directions) -> str:
    """How many images have each attribute, and how long its direction is."""
    lengths = found.directions.norm(dim=1).tolist()
    lines = [
        [name, f"{having:,}", f"{length:.2f}"]
        for name, having, length in zip(found.names, found.counts.tolist(), lengths, strict=True)
    ]
    header = ["attribute", "images that have it", "length of its direction"]
    return markdown_table(header, lines)


def draw_latents(
    covariance: NDArray[np.float64],
    facts: dict[str, float],
    rotated: NDArray[np.float64] | None = None,
) -> Figure:
    """Draw a covariance (d, d), coordinates sorted by variance, and the variances themselves.

    Of many coordinates the heatmap has the ``MOST_CELLS`` of largest variance.

    Args:
        facts: The covariance's measures, from ``vae.latents.describe``.
        rotated: Variances along other coordinates, (d,), which are drawn in place of its own.
    """
    order = np.argsort(np.diagonal(covariance))[::-1]
    shown_order = order[:MOST_CELLS]
    ordered = covariance[np.ix_(shown_order, shown_order)]
    variances = np.diagonal(covariance)[order]
    top = float(variances.max())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0))
        heat, spectrum = figure.subplots(1, 2, width_ratios=[1, 1.15])
        shown = heat.imshow(ordered, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        whole_numbers_below(heat, range(len(shown_order)))
        heat.yaxis.set_major_locator(copy(heat.xaxis.get_major_locator()))
        figure.colorbar(shown, ax=heat, label="covariance", shrink=0.85)
        heat.set_xlabel("latent coordinates, the largest variance first")
        heat.set_ylabel("latent coordinates")
        heat.set_title(
            f"off-diagonal energy {facts['off_diagonal_energy']:.1%}, "
            f"largest |correlation| {facts['largest_correlation']:.2f}"
        )
        _draw_spectrum(spectrum, variances if rotated is None else rotated, rotated is not None)
        figure.tight_layout()
    return figure


def draw_variances(variances: NDArray[np.float64], is_rotated: bool) -> Figure:
    """Draw variances (d,) in falling order, where no covariance is known."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.0))
        _draw_spectrum(figure.subplots(), variances, is_rotated)
        figure.tight_layout()
    return figure


def _draw_spectrum(panel: Axes, variances: NDArray[np.float64], is_rotated: bool) -> None:
    falling = np.sort(variances)[::-1]
    panel.stairs(falling, np.arange(len(falling) + 1) - 0.5, fill=True, color=BLUE)
    panel.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    panel.set_xlim(-1, len(falling))
    whole_numbers_below(panel, range(len(falling)))
    panel.set_xlabel(
        f"{'rotated' if is_rotated else 'latent'} coordinates, the largest variance first"
    )
    panel.set_ylabel("variance $\\lambda$")
    panel.set_title(f"{int((falling > 1.0).sum())} of {len(falling)} variances exceed 1")
