"""Grids of decoded faces beside heatmaps of their distance to the teacher ([OM] Figs. 15-19)."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from report.style import LABELS, STYLE, save_figure
from vae.model import to_uint8

HEAT = "RdYlBu_r"  # small differences blue, large ones red
CELL = 0.72  # inches
DPI = 130  # a pixel and a half for each of a face's; more would only take time and space
# Between cells, as a share of their side; numbers stand in the gaps between rows.
GAP_X, GAP_Y = 0.06, 0.24


def draw_faces(
    path: Path,
    teacher: Tensor,
    decoded: dict[str, Tensor],
    distances: dict[str, Tensor],
    title: str,
) -> None:
    """Draw one row a strategy under the teacher's row: faces left, heatmaps right.

    Args:
        teacher: Images of the surrogate teacher, (B, 3, H, W) in [0, 1]; one column each.
        decoded: Strategy -> its images of the same noise, (B, 3, H, W).
        distances: Strategy -> pixel L2 to the teacher's image, (B,), printed over each heatmap.
    """
    faces = torch.stack([to_uint8(images) for images in (teacher, *decoded.values())]).numpy()
    heats = torch.stack([(images - teacher).abs().mean(dim=1) for images in decoded.values()])
    # The 99.5th percentile, so that a few pixels do not turn the rest of the scale blue.
    top = float(heats.flatten().quantile(0.995))
    pitch_x, pitch_y = _pitch(faces)
    side = faces.shape[2]
    # Each grid is one picture: a hundred panels would take seconds to draw.
    mosaic, heat_mosaic = _mosaic(faces, 255), _mosaic(heats.numpy(), np.nan)
    height, width = mosaic.shape[0], mosaic.shape[1]
    names, between, scale = 1.35 * side, 0.2 * side, 1.1 * side  # widths beside the grids
    whole = names + 2 * width + between + scale
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(CELL * whole / side, CELL * height / side))
        left = figure.add_axes((names / whole, 0.0, width / whole, 1.0))
        left.imshow(mosaic)
        for row, name in enumerate(["surrogate\nteacher", *(LABELS[name] for name in decoded)]):
            middle = row * pitch_y + side / 2
            left.text(-0.1 * side, middle, name, ha="right", va="center", fontsize=9)

        beside = (names + width + between) / whole
        below = heat_mosaic.shape[0] / height
        right = figure.add_axes((beside, 0.0, width / whole, below))
        shown = right.imshow(heat_mosaic, cmap=HEAT, vmin=0.0, vmax=top)
        for row, of_strategy in enumerate(distances.values()):
            for column, distance in enumerate(of_strategy.tolist()):
                middle, above = column * pitch_x + side / 2, row * pitch_y - 0.04 * side
                right.text(middle, above, f"{distance:.3g}", ha="center", va="bottom", fontsize=7)
        note = "difference to the teacher's image, its L2 norm above each cell"
        right.text(width / 2, -0.45 * side, note, ha="center", fontsize=8)
        for panel in (left, right):
            panel.set_axis_off()

        bar_axes = figure.add_axes((1.0 - scale / whole + 0.01, 0.0, 0.15 * side / whole, below))
        bar = figure.colorbar(shown, cax=bar_axes, extend="max")
        bar.set_label("absolute pixel difference, mean over channels", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        figure.suptitle(title, fontsize=10, y=1.0 + 0.2 * side / height, va="bottom")
        save_figure(figure, path, DPI)


def _pitch(cells: NDArray) -> tuple[int, int]:
    """Pixels from one cell of (rows, columns, H, W, ...) to the next, across and down."""
    height, width = cells.shape[2:4]
    return width + round(GAP_X * width), height + round(GAP_Y * height)


def _mosaic(cells: NDArray, blank: float) -> NDArray:
    """Images (rows, columns, H, W, ...) side by side in one, (H', W', ...), with blank gaps."""
    rows, columns, height, width = cells.shape[:4]
    pitch_x, pitch_y = _pitch(cells)
    size = (pitch_y * (rows - 1) + height, pitch_x * (columns - 1) + width)
    mosaic = np.full((*size, *cells.shape[4:]), blank, cells.dtype)
    for row in range(rows):
        for column in range(columns):
            y, x = row * pitch_y, column * pitch_x
            mosaic[y : y + height, x : x + width] = cells[row, column]
    return mosaic
