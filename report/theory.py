"""Every figure of the theory, computed and drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from report.ellipse import draw_ellipse
from report.pairs import draw_pairs
from report.phases import draw_phases
from report.sweeps import draw_gap_and_arcs, draw_w2_and_gap
from vae.run_folder import open_run

SWEEPS = [(num_steps, time) for num_steps in (64, 128, 256, 512) for time in (1.6, 3.2)]


@dataclass(frozen=True)
class TheoryConfig:
    """Draw the figures of the theory: PNG and SVG, each as wide as a column."""

    out: Path
    """Run folder for the figures."""


def draw_theory(config: TheoryConfig) -> Iterator[Path]:
    """Draw one figure after another; yields the files as they are written."""
    open_run(config.out, "plot_theory", config, {}, "cpu")
    yield from draw_ellipse(config.out / "fig_01_ellipse")
    yield from draw_gap_and_arcs(config.out / "fig_02_gap_and_plans")
    for num_steps, time in SWEEPS:
        yield from draw_w2_and_gap(
            config.out / f"figs_07_to_12_T{num_steps:03d}_s{time:g}", num_steps, time
        )
    yield from draw_pairs(config.out / "fig_13_pairs")
    yield from draw_phases(config.out / "phase_diagram")
