"""One look for all figures: names and colours of strategies and samplers, and saving."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiment.write import write_atomically
from planner.budget import Stage

matplotlib.use("agg")

LABELS = {
    "vanilla": "vanilla",
    "progressive": "progressive",
    "sequential_consistency": "sequential\nconsistency",
    "sequential_boot": "sequential\nBOOT",
    "greedy": "joint plan\n(greedy)",
    "beam": "joint plan\n(beam)",
    "pareto": "joint plan\n(exact)",
    "per_dimension": "per-dimension\nplan",
}
# Okabe & Ito's palette, told apart by colour-blind readers too.
COLOURS = {
    "vanilla": "#0072B2",
    "progressive": "#E69F00",
    "sequential_consistency": "#D55E00",
    "sequential_boot": "#009E73",
    "greedy": "#56B4E9",
    "beam": "#F0E442",
    "pareto": "#000000",
    "per_dimension": "#CC79A7",
}
MARKERS = {
    "vanilla": "o",
    "progressive": "s",
    "sequential_consistency": "^",
    "sequential_boot": "D",
    "greedy": "<",
    "beam": "P",
    "pareto": "X",
    "per_dimension": "*",
}
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.facecolor": "white",
    "savefig.bbox": "tight",
    "savefig.dpi": 200,
}


def label(strategy: str) -> str:
    """A strategy's name on one line."""
    return LABELS[strategy].replace("\n", " ")


def stage_label(stage: Stage, num_steps: int) -> str:
    """How long a budget and stage of training are, in gradient steps."""
    where = "per merge" if stage.budget == "per_merge" else "in total"
    return f"{stage_steps(stage, num_steps):,} gradient steps {where}"


def stage_steps(stage: Stage, num_steps: int) -> int:
    """Gradient steps that a stage stands for: of each merge, or of a plan in total."""
    merges = 1 if stage.budget == "per_merge" else max(1, num_steps - 1)
    return merges * stage.steps_per_merge


def stage_in_file_name(stage: Stage, num_steps: int) -> str:
    """The same in names of pictures: ``total_310_steps`` for 310 gradient steps in total."""
    return f"{stage.budget}_{stage_steps(stage, num_steps)}_steps"


def save_figure(figure: Figure, path: Path, dpi: int | None = None) -> None:
    """Write a figure in the format of the path's suffix, whole or not at all.

    Args:
        dpi: Where it is not that of the style.
    """
    with matplotlib.rc_context(STYLE):
        write_atomically(
            path, lambda target: figure.savefig(target, format=path.suffix[1:], dpi=dpi)
        )


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem``.png and ``stem``.svg; returns both."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        save_figure(figure, path)
    return paths


SAMPLER_LABELS = {
    "ddim": "DDIM",
    "euler_log_snr": "Euler, log-SNR",
    "dpmpp_2m": "DPM-Solver++ 2M",
    "dpm_2m": "DPM-Solver 2M (noise)",
    "ddpm_small": "DDPM, small variance",
    "ddpm_large": "DDPM, large variance",
    "euler_ancestral": "Euler ancestral",
}
# Okabe & Ito's palette, as for the strategies in report/style.py.
SAMPLER_COLOURS = {
    "ddim": "#0072B2",
    "euler_log_snr": "#E69F00",
    "dpmpp_2m": "#D55E00",
    "dpm_2m": "#CC79A7",
    "ddpm_small": "#009E73",
    "ddpm_large": "#56B4E9",
    "euler_ancestral": "#000000",
}
# Euler ancestral is DDPM with the small variance: its line must show beneath.
SAMPLER_DASHES = dict.fromkeys(SAMPLER_LABELS, "-") | {
    "dpm_2m": (0, (4, 1.5)),
    "euler_ancestral": (0, (1, 2)),
}


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
