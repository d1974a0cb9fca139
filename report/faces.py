"""Every grid of faces: mosaics, labelled rows, and faces beside heatmaps ([OM] Figs. 15-19)."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from experiment.write import write_atomically
from report.style import LABELS, STYLE, save_figure
from vae.model import to_uint8

HEAT = "RdYlBu_r"  # small differences are blue, large ones red
CELL = 0.72  # inches
DPI = 130  # 1.5 pixels per pixel of a face; more would only cost time and space
# Gaps between cells relative to their side. Numbers stand in the gaps between rows.
GAP_X, GAP_Y = 0.06, 0.24


def draw_faces(
    path: Path,
    target: Tensor,
    decoded: dict[str, Tensor],
    distances: dict[str, Tensor],
    title: str,
    target_name: str,
) -> None:
    """Draw the target's row and one row per strategy: faces left, heatmaps right.

    Args:
        target: Faces of what students are compared with, (B, 3, H, W) in [0, 1]; one column each.
        decoded: Strategy, or what else a row is called -> its images of the same noise,
            (B, 3, H, W).
        distances: Strategy -> pixel L2 to the target's faces, (B,), printed over each heatmap.
        target_name: Name of the target's row.
    """
    faces = torch.stack([to_uint8(images) for images in (target, *decoded.values())]).numpy()
    heats = torch.stack([(images - target).abs().mean(dim=1) for images in decoded.values()])
    # The 99.5th percentile: with the maximum, a few pixels would make all others blue.
    top = float(heats.flatten().quantile(0.995))
    pitch_x, pitch_y = _pitch(faces)
    side = faces.shape[2]
    # Each grid is one image, because a hundred panels would take seconds to draw.
    grid, heat_grid = mosaic(faces, 255), mosaic(heats.numpy(), np.nan)
    height, width = grid.shape[:2]
    names, between, scale = 1.35 * side, 0.2 * side, 1.1 * side  # widths beside the grids
    whole = names + 2 * width + between + scale
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(CELL * whole / side, CELL * height / side))
        left = figure.add_axes((names / whole, 0.0, width / whole, 1.0))
        left.imshow(grid)
        for row, name in enumerate([target_name, *(LABELS.get(name, name) for name in decoded)]):
            middle = row * pitch_y + side / 2
            left.text(-0.1 * side, middle, name, ha="right", va="center", fontsize=9)

        beside = (names + width + between) / whole
        below = heat_grid.shape[0] / height
        right = figure.add_axes((beside, 0.0, width / whole, below))
        shown = right.imshow(heat_grid, cmap=HEAT, vmin=0.0, vmax=top)
        for row, of_strategy in enumerate(distances.values()):
            for column, distance in enumerate(of_strategy.tolist()):
                middle, above = column * pitch_x + side / 2, row * pitch_y - 0.04 * side
                right.text(middle, above, f"{distance:.3g}", ha="center", va="bottom", fontsize=7)
        note = f"difference to the {target_name}'s face, its L2 norm above each cell"
        right.text(width / 2, -0.45 * side, note, ha="center", fontsize=8)
        for panel in (left, right):
            panel.set_axis_off()

        bar_axes = figure.add_axes((1.0 - scale / whole + 0.01, 0.0, 0.15 * side / whole, below))
        bar = figure.colorbar(shown, cax=bar_axes, extend="max")
        bar.set_label("absolute pixel difference, mean over channels", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        figure.suptitle(title, fontsize=10, y=1.0 + 0.2 * side / height, va="bottom")
        save_figure(figure, path, DPI)


def _pitch(cells: NDArray, gap: float | None = None) -> tuple[int, int]:
    """Pixels from one cell of (rows, columns, H, W, ...) to the next, across and down."""
    height, width = cells.shape[2:4]
    across, down = (GAP_X, GAP_Y) if gap is None else (gap, gap)
    return width + round(across * width), height + round(down * height)


def mosaic(cells: NDArray, blank: float, gap: float | None = None) -> NDArray:
    """One image (H', W', ...) of the images (rows, columns, H, W, ...), with gaps of ``blank``.

    Args:
        gap: Gap between cells relative to their side. Default: room for numbers above each row.
    """
    rows, columns, height, width = cells.shape[:4]
    pitch_x, pitch_y = _pitch(cells, gap)
    size = (pitch_y * (rows - 1) + height, pitch_x * (columns - 1) + width)
    grid = np.full((*size, *cells.shape[4:]), blank, cells.dtype)
    for row in range(rows):
        for column in range(columns):
            y, x = row * pitch_y, column * pitch_x
            grid[y : y + height, x : x + width] = cells[row, column]
    return grid


def draw_face_rows(path: Path, rows: Mapping[str, Tensor], title: str) -> None:
    """Draw one labelled row of faces (B, 3, H, W) in [0, 1] per name."""
    faces = torch.stack([to_uint8(images) for images in rows.values()]).numpy()
    grid = mosaic(faces, 255)
    height, width = grid.shape[:2]
    side, pitch_y = faces.shape[2], _pitch(faces)[1]
    names = max(len(line) for name in rows for line in name.split("\n"))
    left = (0.1 + 0.085 * names) * side  # width of the names, at 8 points
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(CELL * (left + width) / side, CELL * height / side))
        panel = figure.add_axes((left / (left + width), 0.0, width / (left + width), 1.0))
        panel.imshow(grid)
        panel.set_axis_off()
        for row, name in enumerate(rows):
            middle = row * pitch_y + side / 2
            panel.text(-0.1 * side, middle, name, ha="right", va="center", fontsize=8)
        if title:
            figure.suptitle(title, fontsize=9, y=1.0 + 0.15 * side / height, va="bottom")
        save_figure(figure, path, DPI)


def save_face_grid(path: Path, images: Tensor) -> None:
    """Write images (N, 3, H, W) in [0, 1] as one PNG, about as many rows as columns."""
    columns = max(1, round(len(images) ** 0.5))
    rows = -(-len(images) // columns)
    faces = to_uint8(images).numpy()
    cells = np.full((rows * columns, *faces.shape[1:]), 255, np.uint8)
    cells[: len(faces)] = faces
    grid = Image.fromarray(mosaic(cells.reshape(rows, columns, *faces.shape[1:]), 255, gap=0.04))
    write_atomically(path, lambda target: grid.save(target, format="PNG"))
