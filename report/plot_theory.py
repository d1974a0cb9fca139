"""The figures of [OM]'s theory, computed and drawn."""

from dataclasses import dataclass

from diffusion.schedule import cosine_schedule
from experiment.folder import FIGURES, RESULTS, open_run
from experiment.progress import tqdm
from experiment.write import write_rows
from planner.regimes import Sweep, sweep
from report.config import TheoryConfig
from report.page import Picture
from report.style import save_png_and_svg
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
    "Figures of the theory, numbered as in [OM], each as PNG and SVG, one or two text columns "
    "wide. The table of results holds the sweeps over the variance."
)
SINGLE = {
    "fig_01_ellipse": (
        draw_ellipse,
        "[OM] Fig. 1. The geometry of a DDIM step: signal and noise of one coordinate are the "
        "point v_t on an ellipse, and the step projects the point before it onto the line through "
        "v_t. Variances below 1 make every step contract; above 1 some steps expand.",
    ),
    "fig_02_gap_and_plans": (
        draw_gap_and_arcs,
        "[OM] Fig. 2. How far each strategy is from the optimum, over the variance, and the "
        "optimal plans of two variances.",
    ),
    "fig_13_pairs": (
        draw_pairs,
        "[OM] Fig. 13. Plans for two coordinates together, for ten pairs of variances: Algorithm 1 "
        "and the optimum. One panel stands for both where they are equal.",
    ),
    "phase_diagram": (
        draw_phases,
        "The optimal strategy for every variance and training time, with the thresholds of the "
        "theory. Right: the narrow range of variances above 1 in more detail.",
    ),
    "phases_by_parametrisation": (
        draw_parametrisations,
        "The optimal strategy for every variance and training time, for operators and for "
        "denoisers under several losses.",
    ),
}
SWEEP = (
    "[OM] Figs. 7 to 12, T = {}, s = {:g}. Error of each strategy over the variance, and how far "
    "it is above the optimum."
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
    pictures: list[Picture] = []
    sweeps: list[Picture] = []
    rows: list[SweepRow] = []
    with tqdm(total=len(SINGLE) + len(SWEEPS), unit="figure", desc="draw") as bar:
        for name, (draw, caption) in SINGLE.items():
            save_png_and_svg(draw(), folder / name)
            pictures.append(Picture(folder / f"{name}.png", caption))
            bar.update()
        for num_steps, time in SWEEPS:
            swept = sweep(cosine_schedule(num_steps), VARIANCES, time)
            name = f"figs_07_to_12_T{num_steps:03d}_s{time:g}"
            save_png_and_svg(draw_w2_and_gap(swept), folder / name)
            sweeps.append(Picture(folder / f"{name}.png", SWEEP.format(num_steps, time)))
            rows += sweep_rows(swept)
            bar.update()
    write_rows(config.out / RESULTS, rows, SweepRow)
    write_summary(config.out, "Theory", TEXT, [*pictures, *sweeps], [config.out / RESULTS])


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
