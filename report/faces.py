"""Every grid of faces: mosaics, labelled rows, and faces beside heatmaps ([OM] Figs. 15-19)."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from report.style import STYLE, NotebookFigure
from vae.model import to_uint8

HEAT = "magma_r"  # sequential: zero is the palest
DPI = 260  # some 1.5 pixels per pixel of a face; more would only cost time and space
PAGE = 7.2  # inches: the width of a page, which a figure fills if its cells allow it
SMALLEST_CELL, LARGEST_CELL = 0.33, 0.72  # inches; numbers of 6 points fit above the smallest
LINE = 0.12  # inches: a line of small letters
GAP_X = 0.06  # between cells, relative to their side
# Letters that are legible on light and dark pages, and no sheet of paper below them: photographs
# cannot be inverted for dark pages as drawings can.
INK = "#7a7a7a"
SHEET = {"figure.facecolor": "none", "axes.facecolor": "none"} | dict.fromkeys(
    ("text.color", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
)
# Factors for exaggerated differences. The largest is taken that keeps them within the range.
FACTORS = (100, 30, 10, 3)
RANGE = 0.6  # exaggerated differences stay within this share of the pixels' range, 0 to 1


def top_of_scale(differences: Iterable[Tensor]) -> float:
    """The end of the colour scale: the 99.5th percentile of all absolute differences.

    With the maximum, a few pixels would make all others pale.

    Args:
        differences: Images minus the target's, (B, 3, H, W) each.
    """
    heats = [heat(difference).flatten() for difference in differences]
    return float(np.quantile(torch.cat(heats).numpy(), 0.995)) if heats else 0.0


def factor_of(top: float) -> int:
    """By how much differences up to ``top`` are exaggerated, so that the eye sees them."""
    return next((factor for factor in FACTORS if factor * top <= RANGE), 1)


def heat(difference: Tensor) -> Tensor:
    """Absolute pixel difference, mean over channels, (B, 3, H, W) -> (B, H, W)."""
    return difference.abs().mean(dim=1)


def draw_faces(
    target: Tensor,
    decoded: Mapping[str, Tensor],
    distances: Mapping[str, Tensor],
    title: str,
    target_name: str,
    top: float,
) -> Figure:
    """The target's row, then one row per strategy: faces, exaggerated faces, heatmaps.

    The exaggerated faces are target + factor * (face - target), clipped. The factor depends only
    on ``top``; where differences are large enough for the eye, these faces are left out.

    Args:
        target: Faces of what students are compared with, (B, 3, H, W) in [0, 1]; one column each.
        decoded: Name of a row -> its images of the same noise, (B, 3, H, W).
        distances: Name of a row -> pixel L2 to the target's faces, (B,), above each heatmap.
        target_name: Name of the target's row.
        top: End of the colour scale, from ``top_of_scale`` over all grids of the run.
    """
    top = max(top, 1e-6)  # where all faces are the target's
    factor = factor_of(top)
    faces = torch.stack([target, *decoded.values()])
    blocks = [("faces", to_uint8_rows(faces))]
    if factor > 1:
        exaggerated = (target + factor * (faces - target)).clamp(0.0, 1.0)
        blocks.append((f"difference exaggerated {factor} times", to_uint8_rows(exaggerated)))
    heats = torch.stack([heat(images - target) for images in decoded.values()]).numpy()

    names_width = 0.12 + 0.064 * _longest_line([target_name, *decoded])
    width, side = len(target) * (1 + GAP_X) - GAP_X, faces.shape[-1]  # of a block, in cells
    cells = (len(blocks) + 1) * (width + 0.35)
    cell = float(np.clip((PAGE - names_width) / cells, SMALLEST_CELL, LARGEST_CELL))
    whole = names_width + cells * cell
    gap_y = (LINE + 0.02) / cell  # numbers stand in the gaps between rows
    height = (len(faces) * (1 + gap_y) - gap_y) * cell
    with matplotlib.rc_context(STYLE | SHEET):
        figure = NotebookFigure(figsize=(whole, height))
        left = names_width
        for heading, shown in blocks:
            # Each grid is one image, because a hundred panels would take seconds to draw.
            panel = figure.add_axes((left / whole, 0.0, width * cell / whole, 1.0))
            panel.imshow(mosaic(shown, 0, GAP_X, gap_y))
            panel.set_title(heading, fontsize=8, pad=4)
            panel.set_axis_off()
            left += (width + 0.35) * cell
        pitch_x, pitch_y = _pitch(blocks[0][1], GAP_X, gap_y)
        for row, name in enumerate([target_name, *decoded]):
            middle = row * pitch_y + side / 2
            figure.axes[0].text(-0.15 * side, middle, name, ha="right", va="center", fontsize=7.5)

        below = 1.0 - (1 + gap_y) * cell / height
        right = figure.add_axes((left / whole, 0.0, width * cell / whole, below))
        norm = PowerNorm(0.5, 0.0, top)
        shown_heats = right.imshow(mosaic(heats, np.nan, GAP_X, gap_y), cmap=HEAT, norm=norm)
        right.set_axis_off()
        for row, of_row in enumerate(distances.values()):
            for column, distance in enumerate(of_row.tolist()):
                middle, above = column * pitch_x + side / 2, row * pitch_y - 0.04 * side
                number = f"{distance:.2g}"
                right.text(middle, above, number, ha="center", va="bottom", fontsize=6.5)
        # The heatmaps have no row for the target; the colour bar stands there.
        bar_axes = figure.add_axes(
            (left / whole, 1.0 - 0.12 / height, width * cell / whole, 0.12 / height)
        )
        bar = figure.colorbar(shown_heats, cax=bar_axes, orientation="horizontal", extend="max")
        ticks = [0.0, *(float(f"{share * top:.1g}") for share in (1 / 16, 1 / 4, 0.8))]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.ax.tick_params(labelsize=6.5, pad=1, length=2)
        bar.ax.minorticks_off()
        bar_axes.set_title(f"difference to the {target_name}'s face", fontsize=8, pad=4)
        figure.suptitle(title, fontsize=9, y=1.0 + 0.26 / height, va="bottom")
    return figure


def faces_caption(target_name: str, top: float) -> str:
    """What ``draw_faces`` shows, in words."""
    factor = factor_of(top)
    exaggerated = "" if factor == 1 else f"Middle: the differences exaggerated {factor} times. "
    return (
        f"Every column has the same noise. Left: the faces. {exaggerated}Right: the absolute "
        f"difference to the {target_name}'s face, mean over channels, with its L2 norm above. The "
        "colour scale is the same in all grids of this run; it is a square root, so that small "
        "differences show."
    )


def to_uint8_rows(images: Tensor) -> NDArray[np.uint8]:
    """Images (rows, B, 3, H, W) in [0, 1] as opaque bytes (rows, B, H, W, 4)."""
    return np.stack([_opaque(row) for row in images])


def _opaque(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, H, W) in [0, 1] as bytes (B, H, W, 4): what is not drawn is transparent."""
    return np.pad(to_uint8(images).numpy(), ((0, 0),) * 3 + ((0, 1),), constant_values=255)


def _longest_line(names: Iterable[str]) -> int:
    return max(len(line) for name in names for line in name.split("\n"))


def _pitch(cells: NDArray, gap_x: float, gap_y: float) -> tuple[int, int]:
    """Pixels from one cell of (rows, columns, H, W, ...) to the next, across and down."""
    height, width = cells.shape[2:4]
    return width + round(gap_x * width), height + round(gap_y * height)


def mosaic(cells: NDArray, blank: float, gap_x: float, gap_y: float) -> NDArray:
    """One image (H', W', ...) of the images (rows, columns, H, W, ...), with gaps of ``blank``.

    Args:
        gap_x: Gap between columns relative to the width of a cell.
        gap_y: Gap between rows relative to the height of a cell.
    """
    rows, columns, height, width = cells.shape[:4]
    pitch_x, pitch_y = _pitch(cells, gap_x, gap_y)
    size = (pitch_y * (rows - 1) + height, pitch_x * (columns - 1) + width)
    grid = np.full((*size, *cells.shape[4:]), blank, cells.dtype)
    for row in range(rows):
        for column in range(columns):
            y, x = row * pitch_y, column * pitch_x
            grid[y : y + height, x : x + width] = cells[row, column]
    return grid


def draw_face_rows(rows: Mapping[str, Tensor], title: str) -> Figure:
    """One labelled row of faces (B, 3, H, W) in [0, 1] per name."""
    faces = np.stack([_opaque(images) for images in rows.values()])
    names_width = 0.12 + 0.066 * _longest_line(rows)
    return _face_figure(faces, title, names_width, list(rows))


def draw_face_grid(images: Tensor, title: str, columns: int | None = None) -> Figure:
    """Images (N, 3, H, W) in [0, 1] under a title, row by row.

    Args:
        columns: Images per row. Without it there are about as many rows as columns.
    """
    columns = columns or max(1, round(len(images) ** 0.5))
    rows = -(-len(images) // columns)
    faces = _opaque(images)
    cells = np.zeros((rows * columns, *faces.shape[1:]), np.uint8)
    cells[: len(faces)] = faces
    return _face_figure(cells.reshape(rows, columns, *faces.shape[1:]), title, 0.0, [])


def _face_figure(
    faces: NDArray[np.uint8], title: str, names_width: float, names: Sequence[str]
) -> Figure:
    """Faces (rows, columns, H, W, 4) with the names of the rows, if any, at their left."""
    grid = mosaic(faces, 0, GAP_X, GAP_X)
    height, width = (LARGEST_CELL * length / faces.shape[2] for length in grid.shape[:2])
    left = names_width / (names_width + width)
    with matplotlib.rc_context(STYLE | SHEET):
        figure = NotebookFigure(figsize=(names_width + width, height))
        panel = figure.add_axes((left, 0.0, 1.0 - left, 1.0))
        panel.imshow(grid)
        panel.set_axis_off()
        side, pitch_y = faces.shape[2], _pitch(faces, GAP_X, GAP_X)[1]
        for row, name in enumerate(names):
            middle = row * pitch_y + side / 2
            panel.text(-0.1 * side, middle, name, ha="right", va="center", fontsize=8)
        figure.suptitle(title, fontsize=9, y=1.0 + 0.08 / height, va="bottom")
    return figure
