"""Figures of the samplers' theory: orders, local KL, marginals, paths; the table of claims."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Denoiser, mixture_denoiser
from diffusion.grid import TimeGrid, fine_grid, uniform_log_snr_grid
from diffusion.samplers import DETERMINISTIC, MARKOVIAN, SAMPLERS, dpmpp_2m, walk
from diffusion.schedule import TeacherSchedule
from experiment.seeds import walk_noise
from report.markdown import Cell, Table
from report.style import (
    SAMPLER_COLOURS,
    SAMPLER_LABELS,
    STYLE,
    draw_sampler,
    legend_above,
)
from sampling.exact_samplers import (
    VARIANCE,
    alternating_grid,
    endpoint_error,
    local_kl,
    smooth_grid,
)
from sampling.lecture_claims import (
    KL_LENGTHS,
    KL_START,
    Claim,
    end_variance_of,
    kl_exponent,
    relative_excess,
    wide_grid,
)

Counts = NDArray[np.int64]
ORDER_STEPS = np.array([10, 20, 40, 80, 160, 320, 640])
MARGINAL_STEPS = np.array([10, 20, 40, 80, 160, 320, 640, 1280])
PRESERVED = 1e-11  # relative errors below are rounding
FEWEST_STEPS = int(ORDER_STEPS[1])  # of a schedule, so that every line has two points
LONGEST_NAME = 30  # letters of a schedule's name in a title


@dataclass(frozen=True)
class ScheduleGrids:
    """The grids that the figures walk on in place of those uniform in the half log-SNR."""

    schedule: TeacherSchedule
    """A fine schedule; its ends are those of every grid."""
    grid: Callable[[int], TimeGrid]
    """Number of steps -> that many steps of equal length in t, the last one to clean data."""

    def noisy(self, num_steps: int) -> TimeGrid:
        """The same grid without its last step, as clean data may have the variance 0."""
        whole = self.grid(num_steps)
        return TimeGrid(whole.alpha[:-1], whole.sigma[:-1])

    def counts(self, wanted: Counts) -> Counts:
        """Those numbers of steps that the schedule has."""
        return wanted[wanted <= self.schedule.num_steps]

    def allow(self, name: str) -> bool:
        """Whether a sampler is defined on the whole grid."""
        return name != "euler_log_snr" or bool(self.schedule.alpha[-1] > 0)


def draw_orders(own: ScheduleGrids | None = None) -> Figure:
    """Endpoint error of the deterministic samplers against steps, on both kinds of grid.

    Args:
        own: Grids of a schedule in place of those uniform in the half log-SNR.
    """
    first = "uniform in the half log-SNR" if own is None else _title(own)
    spacings: dict[str, tuple[Callable[[int], TimeGrid], ScheduleGrids | None]] = {
        first: (smooth_grid if own is None else own.grid, own),
        "steps alternating 1 : 2": (alternating_grid, None),
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (title, (spacing, of)) in zip(panels, spacings.items(), strict=True):
            counts = ORDER_STEPS if of is None else of.counts(ORDER_STEPS)
            for name, update in DETERMINISTIC.items():
                if of is None or of.allow(name):
                    errors = [endpoint_error(update, spacing(n)) for n in counts.tolist()]
                    draw_sampler(panel, name, counts, errors)
            for order, factor, place, offset in ((1, 0.125, 3, (0, 5)), (2, 0.004, 3, (-3, -11))):
                guide = factor * (ORDER_STEPS / 10.0) ** -order
                panel.plot(ORDER_STEPS, guide, color="0.6", linewidth=0.8, linestyle=":")
                panel.annotate(
                    f"order {order}",
                    (ORDER_STEPS[place], guide[place]),
                    fontsize=7,
                    color="0.4",
                    xytext=offset,
                    textcoords="offset points",
                    ha="left" if order == 1 else "right",
                )
            panel.set_title(title)
            panel.set_xlabel("steps")
            panel.set_xscale("log")
            panel.set_yscale("log")
        panels[0].set_ylabel("error at the end of the flow")
        legend_above(figure, panels[1], f"scalar Gaussian data, mean 0.7, variance {VARIANCE:g}")
    return figure


def _title(own: ScheduleGrids) -> str:
    name = own.schedule.name
    return f"uniform in t of {name if len(name) <= LONGEST_NAME else 'the schedule'}"


def draw_local_kl() -> Figure:
    """KL of one step against its length h, with fitted exponents in the legend."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 4.4), layout="constrained")
        panel = figure.subplots()
        for name, update in SAMPLERS.items():
            values = [local_kl(update, KL_START, h, VARIANCE) for h in KL_LENGTHS]
            draw_sampler(panel, name, KL_LENGTHS, values, f": {kl_exponent(name):.2f}")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(KL_LENGTHS, [f"{h:g}" for h in KL_LENGTHS])
        panel.minorticks_off()
        panel.set_xlabel("length $h$ of the step in the half log-SNR")
        panel.set_ylabel("KL to the exact marginal after one step")
        legend_above(figure, panel, f"fitted exponents of $h$; variance {VARIANCE:g}", columns=1)
    return figure


def draw_marginals(own: ScheduleGrids | None = None) -> Figure:
    """Relative error of the final variance of Markovian samplers, for three kinds of data.

    Args:
        own: Grids of a schedule in place of those uniform in the half log-SNR.
    """
    counts = MARGINAL_STEPS if own is None else own.counts(MARGINAL_STEPS)
    spacing = wide_grid if own is None else own.noisy
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for panel, variance in zip(panels, (0.0, 0.25, 1.0), strict=True):
            errors = {
                name: np.abs(
                    [
                        relative_excess(end_variance_of(name), n, variance, spacing)
                        for n in counts.tolist()
                    ]
                )
                for name in ("ddim", *MARKOVIAN)
            }
            preserved = [name for name, own in errors.items() if (own < PRESERVED).all()]
            for name in ("ddim", *MARKOVIAN):
                drawn = np.full(len(counts), np.nan) if name in preserved else errors[name]
                draw_sampler(panel, name, counts, drawn)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_title(f"data of variance {variance:g}")
            panel.set_xlabel("steps")
            if preserved:
                names = "\n".join(SAMPLER_LABELS[name] for name in preserved)
                panel.text(
                    0.04, 0.04, f"no error but rounding:\n{names}", fontsize=7, va="bottom",
                    transform=panel.transAxes, color="0.35",
                )  # fmt: skip
        panels[0].set_ylim(3e-4, 20)
        panels[0].set_ylabel("relative error of the\nfinal variance, absolute")
        levels = "half log-SNR from -4 to 4" if own is None else _title(own)
        legend_above(figure, panels[0], f"{levels}, exact denoiser")
    return figure


def claims_table(claims: Sequence[Claim]) -> Table:
    """The claims as a table."""
    header = ("[SCH] eq.", "claim", "as printed", "corrected", "measured")
    lines = [tuple(map(Cell, astuple(claim))) for claim in claims]
    return Table(header, tuple(lines), alignment="lllll")


CENTRES = np.array([[1.6, 0.9], [-1.5, 1.0], [0.1, -1.7]])
SPREAD = 0.06  # variance of each mode
NUM_STEPS, NUM_ENDS = 12, 400
SMOOTH_PATHS, RANDOM_PATHS = 14, 3  # paths drawn, for samplers without and with noise


def mixture() -> Denoiser:
    """Three round modes of equal weight."""
    modes = [Eigenbasis(centre, np.full(2, SPREAD), np.eye(2)) for centre in CENTRES]
    return mixture_denoiser(torch.full((3,), 1 / 3, dtype=torch.float64), modes)


def _noised(z: torch.Tensor, schedule: TeacherSchedule) -> torch.Tensor:
    """Unit noise (B, 2) as the Gaussian that has the moments of the mixture at t = T."""
    alpha, sigma = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    covariance = np.cov(CENTRES.T, bias=True) + SPREAD * np.eye(2)
    root = np.linalg.cholesky(alpha**2 * covariance + sigma**2 * np.eye(2))
    return torch.from_numpy(alpha * CENTRES.mean(axis=0)) + z @ torch.from_numpy(root.T.copy())


def draw_paths(own: ScheduleGrids | None = None) -> Figure:
    """Paths of a few samples and the ends of many from the same noise, one panel per sampler.

    Args:
        own: Grids of a schedule in place of those uniform in the half log-SNR. Where the schedule
            keeps a signal, paths start at the Gaussian of the noised mixture.
    """
    denoise = mixture()
    start, noise = (part.double() for part in walk_noise(range(NUM_ENDS), NUM_STEPS, 2))
    if own is None:
        grid = uniform_log_snr_grid(NUM_STEPS, q_max=20.0, q_min=0.05)
        fine = uniform_log_snr_grid(400, q_max=20.0, q_min=0.05)
    else:
        grid, fine = own.grid(NUM_STEPS), fine_grid(own.schedule, 400)
        start = _noised(start, own.schedule)
    panels_of = {"exact flow": ("0.35", walk(dpmpp_2m, denoise, fine, start, None))} | {
        SAMPLER_LABELS[name]: (SAMPLER_COLOURS[name], walk(update, denoise, grid, start, noise))
        for name, update in SAMPLERS.items()
        if own is None or own.allow(name)
    }
    random = [SAMPLER_LABELS[name] for name in MARKOVIAN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        grid = figure.subplots(2, 4, sharex=True, sharey=True)
        for panel in grid[0]:
            panel.tick_params(axis="x", length=0)  # they would touch the titles below
        for panel in grid.flat[len(panels_of) :]:
            panel.set_visible(False)
        for panel, (title, (colour, states)) in zip(grid.flat, panels_of.items(), strict=False):
            paths = torch.stack([start, *states]).numpy()  # (N + 1, B, 2)
            shown = RANDOM_PATHS if title in random else SMOOTH_PATHS
            panel.plot(*paths[-1].T, ".", color=colour, markersize=1.5, alpha=0.5)
            panel.plot(paths[:, :shown, 0], paths[:, :shown, 1], color=colour, linewidth=0.6)
            panel.plot(*paths[0, :shown].T, "o", color="0.6", markersize=2)
            panel.plot(*CENTRES.T, "P", color="white", markeredgecolor="black", markersize=6)
            panel.set_title(title, fontsize=8)
            panel.set_aspect("equal")
            panel.set_xlim(-3.1, 3.1)
            panel.set_ylim(-3.1, 3.1)
        figure.suptitle(
            f"{NUM_STEPS} steps from the same noise (grey dots) to a mixture of three modes (white "
            f"crosses); {NUM_ENDS} ends",
            fontsize=8,
        )
        figure.supxlabel("first coordinate", fontsize=8)
        figure.supylabel("second coordinate", fontsize=8)
    return figure
