"""Grids of decoded faces beside heatmaps of their distance to the teacher ([OM] Figs. 15-19)."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from report.style import LABELS, STYLE, save_figure
from vae.pixels import to_uint8

HEAT = "RdYlBu_r"  # small differences blue, large ones red
CELL = 0.72  # inches


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
    heats = {name: (images - teacher).abs().mean(dim=1) for name, images in decoded.items()}
    # The 99.5th percentile, so that a few pixels do not turn the rest of the scale blue.
    top = float(torch.cat([heat.flatten() for heat in heats.values()]).quantile(0.995))
    columns, rows = len(teacher), 1 + len(decoded)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(CELL * (2 * columns + 2.6), (CELL + 0.17) * rows + 0.45))
        left, right = figure.subfigures(1, 2, width_ratios=[columns + 1.5, columns + 1.1])
        faces = _cells(left, rows, columns, left_margin=1.5 / (columns + 1.5), right_margin=0.99)
        maps = _cells(
            right, rows, columns, left_margin=0.01, right_margin=1 - 1.0 / (columns + 1.1)
        )

        _row_of_faces(faces[0], "surrogate\nteacher", teacher)
        for cell in maps[0]:
            cell.set_visible(False)
        for row, (name, images) in enumerate(decoded.items(), start=1):
            _row_of_faces(faces[row], LABELS[name], images)
            for cell, heat, distance in zip(maps[row], heats[name], distances[name], strict=True):
                shown = cell.imshow(heat.numpy(), cmap=HEAT, vmin=0.0, vmax=top)
                cell.set_title(f"{distance.item():.3g}", fontsize=7, pad=1.5)

        box, lowest = maps[1, -1].get_position(), maps[-1, -1].get_position()
        bar_axes = right.add_axes((box.x1 + 0.015, lowest.y0, 0.018, box.y1 - lowest.y0))
        bar = right.colorbar(shown, cax=bar_axes, extend="max")
        bar.set_label("absolute pixel difference, mean over channels", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        maps_x = (maps[0, 0].get_position().x0 + box.x1) / 2
        right.text(
            maps_x,
            maps[1, 0].get_position().y1 + 0.05,
            "difference to the teacher's image, its L2 norm above each cell",
            ha="center",
            fontsize=8,
        )
        figure.suptitle(title, fontsize=10, y=1.01)
        save_figure(figure, path)


def _cells(
    figure: Figure, rows: int, columns: int, left_margin: float, right_margin: float
) -> np.ndarray:
    grid = {"left": left_margin, "right": right_margin, "top": 0.97, "bottom": 0.01}
    cells = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw=grid | {"wspace": 0.06, "hspace": 0.24}
    )
    for cell in cells.flat:
        cell.set_xticks([])
        cell.set_yticks([])
        cell.spines[:].set_visible(False)
    return cells


def _row_of_faces(cells: np.ndarray, name: str, images: Tensor) -> None:
    first: Axes = cells[0]
    first.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for cell, image in zip(cells, to_uint8(images).numpy(), strict=True):
        cell.imshow(image)
