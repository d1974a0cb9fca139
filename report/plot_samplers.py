"""The figures of the samplers' theory, and the table of the lecture's claims."""

from diffusion.grid import uniform_t_grid
from diffusion.schedule_choice import schedule_fingerprint
from experiment.folder import FIGURES, RESULTS, open_run
from experiment.progress import tqdm
from experiment.write import write_rows
from report.config import SamplerTheoryConfig
from report.page import Picture
from report.sampler_theory import (
    FEWEST_STEPS,
    ScheduleGrids,
    claims_table,
    draw_local_kl,
    draw_marginals,
    draw_orders,
    draw_paths,
)
from report.style import save_png_and_svg
from report.summary import write_summary
from sampling.lecture_claims import Claim, claims
from sampling.sample_faces import fine_schedule

DRAWINGS = {
    "orders": (
        draw_orders,
        "Error at the end of the flow over the number of steps, on two kinds of grid. Dotted "
        "lines have the slopes of orders 1 and 2.",
    ),
    "local_kl": (
        lambda own: draw_local_kl(),  # it has no grid
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


def schedule_grids(config: SamplerTheoryConfig) -> ScheduleGrids | None:
    """The grids of the schedule that the flags describe; None for the half log-SNR.

    Raises:
        FileNotFoundError, ValueError: there is no such schedule, or it has too few steps.
    """
    if config.spacing == "log_snr":
        return None
    schedule = fine_schedule(config)
    if schedule.num_steps < FEWEST_STEPS:
        raise ValueError(
            f"--schedule {config.schedule} has {schedule.num_steps} steps; these figures need "
            f"{FEWEST_STEPS} or more"
        )
    return ScheduleGrids(
        schedule, lambda steps: uniform_t_grid(fine_schedule(config, steps), steps)
    )


def draw_sampler_theory(config: SamplerTheoryConfig) -> None:
    """Draw every figure, measure the lecture's claims, and write a summary.

    Raises:
        ValueError: the run folder cannot be used.
    """
    own = schedule_grids(config)
    open_run(config.out, "plot_samplers", config, schedule_fingerprint(config), "cpu")
    pictures = []
    for name, (draw, caption) in tqdm(DRAWINGS.items(), "draw", unit="figure"):
        save_png_and_svg(draw(own), config.out / FIGURES / name)
        pictures.append(Picture(config.out / FIGURES / f"{name}.png", caption))
    found = claims()
    write_rows(config.out / RESULTS, found, Claim)
    title = "The lecture's claims, measured"
    write_summary(config.out, title, [claims_table(found)], pictures, [config.out / RESULTS])
