"""Every grid of faces: mosaics, labelled rows, and faces beside heatmaps ([OM] Figs. 15-19)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor

from report.style import STYLE, NotebookFigure
from vae.evaluate import INK
from vae.model import to_uint8

HEAT = "magma_r"  # sequential: zero is the palest
DPI = 260  # some 1.5 pixels per pixel of a face; more would only cost time and space
PAGE = 7.2  # inches: the width of a page, which a figure fills if its cells allow it
PAGE_HEIGHT = 9.0  # inches, below a heading and above a caption
SMALLEST_CELL, LARGEST_CELL = 0.33, 0.72  # inches; numbers of 6 points fit above the smallest
LINE, HEADING_LETTER = 0.12, 0.0565  # inches: a line of small letters, a letter of a heading
SMALLEST_BLOCK = 1.15  # inches; the words of headings fit above it
BAND_GAP = 0.3  # inches between bands of rows
BLOCK_GAP = 0.35  # between blocks, relative to the side of a cell
GAP_X = 0.06  # between cells, relative to their side
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
    on ``top``; where differences are large enough for the eye, these faces are left out. Columns
    that do not fit beside each other go on in another band below.

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
    blocks = {"faces": to_uint8_rows(faces)}
    if factor > 1:
        exaggerated = (target + factor * (faces - target)).clamp(0.0, 1.0)
        blocks[f"difference exaggerated {factor} times"] = to_uint8_rows(exaggerated)
    heats = torch.stack([heat(images - target) for images in decoded.values()]).numpy()
    norm = PowerNorm(0.5, 0.0, top)

    names = [target_name, *decoded]
    names_width = 0.12 + 0.064 * _longest_line(names)
    place = _fit(len(target), len(names), len(blocks) + 1, names_width)
    gap_y = (LINE + 0.02) / place.cell  # numbers stand in the gaps between rows
    pitch_x, pitch_y = _pitch(faces.permute(0, 1, 3, 4, 2).numpy(), GAP_X, gap_y)
    side = faces.shape[-1]
    with matplotlib.rc_context(STYLE | SHEET):
        figure = NotebookFigure(figsize=(place.width, place.height))
        for band in range(place.bands):
            of_band = slice(band * place.columns, (band + 1) * place.columns)
            # Each grid is one image, because a hundred panels would take seconds to draw.
            for block, (heading, cells) in enumerate(blocks.items()):
                panel = _add_panel(figure, place, band, block, cells[:, of_band], gap_y)
                panel.imshow(mosaic(cells[:, of_band], 0, GAP_X, gap_y))
                if band == 0:
                    panel.set_title(_heading(heading, place), fontsize=8, pad=4)
                if block == 0:
                    for row, name in enumerate(names):
                        middle = row * pitch_y + side / 2
                        panel.text(
                            -0.15 * side, middle, name, ha="right", va="center", fontsize=7.5
                        )
            right = _add_panel(figure, place, band, len(blocks), heats[:, of_band], gap_y)
            shown = right.imshow(mosaic(heats[:, of_band], np.nan, GAP_X, gap_y), HEAT, norm)
            for row, of_row in enumerate(distances.values()):
                for column, distance in enumerate(of_row[of_band].tolist()):
                    middle, above = column * pitch_x + side / 2, row * pitch_y - 0.04 * side
                    number = f"{distance:.2g}"
                    right.text(middle, above, number, ha="center", va="bottom", fontsize=6.5)
            if band == 0:
                # The heatmaps have no row for the target; the colour bar stands there.
                left, _, width, _ = right.get_position().bounds
                depth = 0.12 / place.height
                bar_axes = figure.add_axes((left, 1.0 - depth, width, depth))
                _add_bar(figure, bar_axes, shown, top)
                heading = _heading(f"difference to the {target_name}'s face", place)
                bar_axes.set_title(heading, fontsize=8, pad=4)
        lines = max(panel.get_title().count("\n") + 1 for panel in figure.axes)
        above = 0.12 + 0.14 * lines
        figure.suptitle(title, fontsize=9, y=1.0 + above / place.height, va="bottom")
    return figure


@dataclass(frozen=True)
class _Place:
    """How the blocks of ``draw_faces`` lie: side by side, in as many bands as their columns need.

    Lengths are inches.
    """

    bands: int
    columns: int  # of a band
    cell: float  # side of a face
    pitch: float  # from the left of a block to that of the next
    left: float  # of the first block
    band_height: float
    width: float  # of the figure
    height: float


def _fit(columns: int, rows: int, blocks: int, names_width: float) -> _Place:
    """The bands with which a page shows the figure largest."""
    places = []
    for bands in range(1, columns + 1):
        per_band = -(-columns // bands)
        if -(-columns // per_band) < bands:
            continue  # fewer bands hold as few columns
        cells = blocks * (per_band * (1 + GAP_X) - GAP_X + BLOCK_GAP)
        tallest = (PAGE_HEIGHT / bands - BAND_GAP) / rows - LINE
        fitting = min((PAGE - names_width) / cells, tallest, LARGEST_CELL)
        cell = max(fitting, SMALLEST_CELL)
        pitch = max(cells * cell / blocks, SMALLEST_BLOCK)
        band_height = rows * (cell + LINE + 0.02) - LINE - 0.02
        places.append(
            _Place(
                bands=bands,
                columns=per_band,
                cell=cell,
                pitch=pitch,
                left=names_width,
                band_height=band_height,
                width=names_width + blocks * pitch,
                height=bands * (band_height + BAND_GAP) - BAND_GAP,
            )
        )

    def shrinkage(place: _Place) -> float:
        """By how much a page shrinks the figure; a little is no reason for another band."""
        return max(1.1, place.width / PAGE, place.height / PAGE_HEIGHT)

    return min(places, key=shrinkage)


def _add_panel(
    figure: Figure, place: _Place, band: int, block: int, cells: NDArray, gap_y: float
) -> Axes:
    """Axes without a frame for the mosaic of ``cells``, above the bottom of a band."""
    rows, columns = cells.shape[:2]
    width = (columns * (1 + GAP_X) - GAP_X) * place.cell
    height = (rows * (1 + gap_y) - gap_y) * place.cell
    bottom = place.height - band * (place.band_height + BAND_GAP) - place.band_height
    left = place.left + block * place.pitch
    sides = (left / place.width, bottom / place.height, width / place.width, height / place.height)
    panel = figure.add_axes(sides)
    panel.set_axis_off()
    return panel


def _heading(text: str, place: _Place) -> str:
    """The heading of a block, in lines as wide as the block."""
    return "\n".join(wrap(text, int(place.pitch / HEADING_LETTER)))


def _add_bar(figure: Figure, panel: Axes, shown: AxesImage, top: float) -> None:
    """A colour bar from 0 to ``top`` with round numbers."""
    bar = figure.colorbar(shown, cax=panel, orientation="horizontal", extend="max")
    wide = panel.get_position().width * figure.get_figwidth() > 4 * LARGEST_CELL / 3
    shares = (1 / 16, 1 / 4, 0.8) if wide else (0.8,)
    ticks = [0.0, *(float(f"{share * top:.1g}") for share in shares)]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.tick_params(labelsize=6.5, pad=1, length=2)
    bar.ax.minorticks_off()


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
    columns, side = faces.shape[1:3]
    cell = (PAGE - names_width) / (columns * (1 + GAP_X) - GAP_X)
    cell = float(np.clip(cell, SMALLEST_CELL, LARGEST_CELL))
    lines = max((name.count("\n") + 1 for name in names), default=0)
    gap_y = max(GAP_X, LINE * (lines + 1.2) / cell - 1)  # names of many lines stay apart
    grid = mosaic(faces, 0, GAP_X, gap_y)
    height, width = (cell * length / side for length in grid.shape[:2])
    left = names_width / (names_width + width)
    with matplotlib.rc_context(STYLE | SHEET):
        figure = NotebookFigure(figsize=(names_width + width, height))
        panel = figure.add_axes((left, 0.0, 1.0 - left, 1.0))
        panel.imshow(grid)
        panel.set_axis_off()
        pitch_y = _pitch(faces, GAP_X, gap_y)[1]
        for row, name in enumerate(names):
            middle = row * pitch_y + side / 2
            panel.text(-0.1 * side, middle, name, ha="right", va="center", fontsize=8)
        figure.suptitle(title, fontsize=9, y=1.0 + 0.08 / height, va="bottom")
    return figure
