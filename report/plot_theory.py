"""The figures of [OM]'s theory, computed and drawn."""

from dataclasses import dataclass

from diffusion.schedule import cosine_schedule
from experiment.folder import FIGURES, RESULTS, open_run
from experiment.progress import tqdm
from experiment.write import write_rows
from planner.regimes import Sweep, sweep
from report.config import TheoryConfig
from report.summary import write_summary
from report.theory_figures import (
    VARIANCES,
    draw_ellipse,
    draw_gap_and_arcs,
    draw_pairs,
    draw_parametrisations,
    draw_phases,
    draw_w2_and_gap,
)

SWEEPS = [(num_steps, time) for num_steps in (64, 128, 256, 512) for time in (1.6, 3.2)]
TEXT = (
    "Figures of the theory, numbered as in [OM], each as PNG and SVG, one text column wide. "
    "`results.csv` holds the sweeps over the variance."
)


@dataclass(frozen=True)
class SweepRow:
    """A row of ``results.csv``: one strategy at one variance."""

    num_steps: int
    train_time: float
    variance: float
    strategy: str  # or "optimum"
    w2_squared: float
    above_optimum: float


def draw_theory(config: TheoryConfig) -> None:
    """Draw every figure, write the sweeps as a table, and write a summary.

    Raises:
        ValueError: the run folder cannot be used.
    """
    open_run(config.out, "plot_theory", config, {}, "cpu")
    folder = config.out / FIGURES
    single = {
        "fig_01_ellipse": draw_ellipse,
        "fig_02_gap_and_plans": draw_gap_and_arcs,
        "fig_13_pairs": draw_pairs,
        "phase_diagram": draw_phases,
        "phases_by_parametrisation": draw_parametrisations,
    }
    rows: list[SweepRow] = []
    with tqdm(total=len(single) + len(SWEEPS), unit="figure", desc="draw") as bar:
        for name, draw in single.items():
            draw(folder / name)
            bar.update()
        for num_steps, time in SWEEPS:
            swept = sweep(cosine_schedule(num_steps), VARIANCES, time)
            draw_w2_and_gap(folder / f"figs_07_to_12_T{num_steps:03d}_s{time:g}", swept)
            rows += sweep_rows(swept)
            bar.update()
    write_rows(config.out / RESULTS, rows, SweepRow)
    write_summary(config.out, "Theory", TEXT, sorted(folder.glob("*.png")), [config.out / RESULTS])


def sweep_rows(swept: Sweep) -> list[SweepRow]:
    """Tabulate every strategy and the optimum at every variance of a sweep."""
    zero = swept.variances * 0.0
    columns = {"optimum": (swept.w2_squared(swept.optimum), zero)} | {
        name: (swept.w2_squared(operator), swept.gap(name))
        for name, operator in swept.canonical.items()
    }
    return [
        SweepRow(swept.num_steps, swept.train_time, variance, name, w2, above)
        for name, (w2s, gaps) in columns.items()
        for variance, w2, above in zip(
            swept.variances.tolist(), w2s.tolist(), gaps.tolist(), strict=True
        )
    ]
