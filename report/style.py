"""One look for all figures: names and colours of strategies and samplers, and saving."""

import io
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from textwrap import wrap

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from diffusion.schedule import NoiseLevels
from experiment.write import write_atomically
from planner.budget import WHERE, Stage, k_suffix

LABELS = {
    "vanilla": "vanilla",
    "progressive": "progressive",
    "sequential_consistency": "sequential\nconsistency",
    "sequential_boot": "sequential\nBOOT",
    "planned": "planned\n(theory)",
    "greedy": "joint plan\n(greedy)",
    "beam": "joint plan\n(beam)",
    "pareto": "joint plan\n(exact)",
    "per_dimension": "per-dimension\nplan",
}
# Where several strategies share a line or a row.
SHORT_LABELS = {name: text.replace("\n", " ") for name, text in LABELS.items()} | {
    "sequential_consistency": "consistency",
    "sequential_boot": "BOOT",
    "planned": "planned",
    "greedy": "greedy",
    "beam": "beam",
    "pareto": "exact",
    "per_dimension": "per-dimension",
}
# Budget -> what a training length counts.
AXIS_LABELS = {budget: f"gradient steps {where}" for budget, where in WHERE.items()}
# The palette of Okabe & Ito, which colour-blind readers can distinguish too.
BLUE, ORANGE, RED, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
SKY, YELLOW, BLACK, PINK = "#56B4E9", "#F0E442", "#000000", "#CC79A7"
BROWN = "#8C510A"  # for lines and points: yellow ones are hard to see on white
COLOURS = {
    "vanilla": BLUE,
    "progressive": ORANGE,
    "sequential_consistency": RED,
    "sequential_boot": GREEN,
    "planned": BLACK,
    "greedy": SKY,
    "beam": BROWN,
    "pareto": BLACK,
    "per_dimension": PINK,
}
MARKERS = {
    "vanilla": "o",
    "progressive": "s",
    "sequential_consistency": "^",
    "sequential_boot": "D",
    "planned": "*",
    "greedy": "<",
    "beam": "P",
    "pareto": "X",
    "per_dimension": "*",
}
SAMPLER_LABELS = {
    "ddim": "DDIM",
    "euler_log_snr": "Euler, log-SNR",
    "dpmpp_2m": "DPM-Solver++ 2M",
    "dpm_2m": "DPM-Solver 2M (noise)",
    "ddpm_small": "DDPM, small variance",
    "ddpm_large": "DDPM, large variance",
    "euler_ancestral": "Euler ancestral",
}
SAMPLER_COLOURS = {
    "ddim": BLUE,
    "euler_log_snr": ORANGE,
    "dpmpp_2m": RED,
    "dpm_2m": PINK,
    "ddpm_small": GREEN,
    "ddpm_large": SKY,
    "euler_ancestral": BLACK,
}
# Euler ancestral equals DDPM with the small variance, so the line below must stay visible.
SAMPLER_DASHES = dict.fromkeys(SAMPLER_LABELS, "-") | {
    "dpm_2m": (0, (4, 1.5)),
    "euler_ancestral": (0, (1, 2)),
}
# Everything that a matplotlibrc of the user may set, such as text.usetex, is set back.
_PLAIN = {
    name: value
    for name, value in matplotlib.rcParamsDefault.items()
    if not name.startswith(("backend", "interactive", "toolbar", "webagg."))
}
STYLE = _PLAIN | {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.facecolor": "white",
    "savefig.bbox": "tight",
    "savefig.dpi": 200,
}


NOTEBOOK_DPI = 100


class NotebookFigure(Figure):
    """A figure that a notebook shows by itself.

    Matplotlib registers its figures with notebooks only once pyplot is loaded. These figures need
    neither pyplot nor a backend, so they leave the user's choice of one alone.
    """

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(buffer, format="png", dpi=NOTEBOOK_DPI)
        return buffer.getvalue()


def label(strategy: str) -> str:
    """The name of a strategy, on one line; plans of a file may have names of their own."""
    return LABELS.get(strategy, strategy).replace("\n", " ")


def schedule_text(schedule: NoiseLevels | None) -> str:
    """What a summary says about the schedule after the number of steps: nothing for cosine."""
    if schedule is None or schedule.name in ("", "cosine"):
        return ""
    signal = schedule.alpha[-1]
    start = f", from N(0, n_T) with alpha_T = {signal:.3g}" if signal > 0 else ""
    return f" of the schedule {schedule.name}{start}"


def stage_label(stage: Stage, num_steps: int) -> str:
    """The training length of a stage in words, in gradient steps."""
    where = WHERE[stage.budget]
    return f"{stage_steps(stage, num_steps):,} gradient steps {where}{k_label(stage.student_steps)}"


def k_label(student_steps: int) -> str:
    """What labels say about K: nothing for students of one step."""
    return "" if student_steps == 1 else f", K = {student_steps}"


def stage_steps(stage: Stage, num_steps: int) -> int:
    """Gradient steps of a stage: per merge, or of a plan in total."""
    merges = 1 if stage.budget == "per_merge" else max(1, num_steps - 1)
    return merges * stage.steps_per_merge


def stage_in_file_name(stage: Stage, num_steps: int) -> str:
    """The stage in file names of pictures, such as ``total_310_steps_K2``."""
    return f"{stage.budget}_{stage_steps(stage, num_steps)}_steps{k_suffix(stage.student_steps)}"


def save_figure(figure: Figure, path: Path, dpi: int | None = None) -> None:
    """Write a figure in the format of the path's suffix, completely or not at all.

    Args:
        dpi: Dots per inch, if not those of the style.
    """
    with matplotlib.rc_context(STYLE):
        write_atomically(
            path, lambda target: figure.savefig(target, format=path.suffix[1:], dpi=dpi)
        )


def legend_above(figure: Figure, panel: Axes, title: str | None = None, columns: int = 4) -> None:
    """Draw the legend of ``panel`` above the whole figure, which needs a constrained layout."""
    handles, names = panel.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=9,
        handlelength=2.6,
    )


def whole_numbers_below(panel: Axes, places: Iterable[float]) -> None:
    """Mark whole numbers on the x axis, also where there is one place only."""
    shown = sorted(set(places))
    panel.xaxis.set_major_locator(
        FixedLocator(shown) if len(shown) == 1 else MaxNLocator(5, integer=True)
    )


def widen_to_a_decade(panel: Axes) -> None:
    """Give a logarithmic y axis at least a decade, so that it shows a power of ten; name no other.

    Names between the powers would touch each other. All panels that share the axis are drawn
    before: what is drawn later does not move its ends. A linear axis, of no data, stays.
    """
    if panel.get_yscale() != "log":
        return
    low, high = panel.get_ylim()
    stretch = max(1.0, np.sqrt(10.0 * low / high))
    panel.set_ylim(low / stretch, high * stretch)
    panel.yaxis.set_minor_formatter(NullFormatter())


LEGEND_SIZE, LEGEND_LETTER, LEGEND_LINE = 8, 0.062, 0.165  # points; inches of a letter, of a line
HANDLE = 0.55  # inches of a legend's column besides its letters


def fitting_legend(
    figure: Figure, entries: Sequence[tuple[Artist, str]], title: str | None = None
) -> None:
    """Draw a legend above a figure of constrained layout, and make the figure as much taller.

    The legend has as many columns as fit, and names that are longer than the figure is wide are
    broken into lines. So panels keep their size, whatever is named.

    Args:
        entries: What stands for a name, and the name.
    """
    handles, names = zip(*entries, strict=True)
    width = figure.get_figwidth()
    letters = int((width - HANDLE) / LEGEND_LETTER)
    texts = ["\n".join(chain(*(wrap(line, letters) for line in n.split("\n")))) for n in names]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    columns = max(1, min(len(texts), int(width / (HANDLE + LEGEND_LETTER * longest))))
    columns = -(-len(texts) // -(-len(texts) // columns))  # no column of a single entry
    lines = max(
        sum(text.count("\n") + 1 for text in of_column)
        for of_column in np.array_split(np.array(texts, dtype=object), columns)
    )
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (lines + (title is not None)))
    figure.legend(
        handles,
        texts,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=LEGEND_SIZE,
        title=title,
        title_fontsize=9,
        handlelength=2.6,
    )


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem``.png and ``stem``.svg; returns both."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        save_figure(figure, path)
    return paths


def draw_sampler(
    panel: Axes, name: str, x: ArrayLike, y: ArrayLike | Sequence[float | None], more: str = ""
) -> None:
    """Draw a sampler's line, labelled by its name and ``more``."""
    panel.plot(
        x,
        y,
        color=SAMPLER_COLOURS[name],
        linestyle=SAMPLER_DASHES[name],
        marker="o",
        markersize=2.5,
        linewidth=1.4,
        label=SAMPLER_LABELS[name] + more,
    )
