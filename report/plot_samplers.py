"""The figures of the samplers' theory, and the table of the lecture's claims."""

from experiment.folder import FIGURES, RESULTS, open_run
from experiment.progress import tqdm
from experiment.write import write_rows
from report.config import SamplerTheoryConfig
from report.sampler_theory import (
    claims_table,
    draw_local_kl,
    draw_marginals,
    draw_orders,
    draw_paths,
)
from report.summary import write_summary
from sampling.lecture_claims import Claim, claims

DRAWINGS = {
    "orders": draw_orders,
    "local_kl": draw_local_kl,
    "marginals": draw_marginals,
    "paths": draw_paths,
}


def draw_sampler_theory(config: SamplerTheoryConfig) -> None:
    """Draw every figure, measure the lecture's claims, and write a summary.

    Raises:
        ValueError: the run folder cannot be used.
    """
    open_run(config.out, "plot_samplers", config, {}, "cpu")
    figures = [config.out / FIGURES / f"{name}.png" for name in DRAWINGS]
    bar = tqdm(zip(figures, DRAWINGS.values(), strict=True), "draw", len(figures), unit="figure")
    for figure, draw in bar:
        draw(figure.with_suffix(""))
    found = claims()
    write_rows(config.out / RESULTS, found, Claim)
    title = "The lecture's claims, measured"
    write_summary(config.out, title, claims_table(found), figures, [config.out / RESULTS])
