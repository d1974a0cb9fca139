"""The figures of the samplers' theory, and the table of the lecture's claims."""

from experiment.folder import FIGURES, RESULTS, open_run
from experiment.progress import tqdm
from experiment.write import write_rows
from report.config import SamplerTheoryConfig
from report.page import Picture
from report.sampler_theory import (
    claims_table,
    draw_local_kl,
    draw_marginals,
    draw_orders,
    draw_paths,
)
from report.style import save_png_and_svg
from report.summary import write_summary
from sampling.lecture_claims import Claim, claims

DRAWINGS = {
    "orders": (
        draw_orders,
        "Error at the end of the flow over the number of steps, on two kinds of grid. Dotted "
        "lines have the slopes of orders 1 and 2.",
    ),
    "local_kl": (
        draw_local_kl,
        "KL divergence to the exact marginal after one step, over the length of the step.",
    ),
    "marginals": (
        draw_marginals,
        "Relative error of the final variance over the number of steps, for three variances of the "
        "data. Samplers that keep the variance but for rounding are named.",
    ),
    "paths": (
        draw_paths,
        "Paths of a few samples from the same noise to a mixture of three modes, and the ends of "
        "many.",
    ),
}


def draw_sampler_theory(config: SamplerTheoryConfig) -> None:
    """Draw every figure, measure the lecture's claims, and write a summary.

    Raises:
        ValueError: the run folder cannot be used.
    """
    open_run(config.out, "plot_samplers", config, {}, "cpu")
    pictures = []
    for name, (draw, caption) in tqdm(DRAWINGS.items(), "draw", unit="figure"):
        save_png_and_svg(draw(), config.out / FIGURES / name)
        pictures.append(Picture(config.out / FIGURES / f"{name}.png", caption))
    found = claims()
    write_rows(config.out / RESULTS, found, Claim)
    title = "The lecture's claims, measured"
    write_summary(config.out, title, [claims_table(found)], pictures, [config.out / RESULTS])
