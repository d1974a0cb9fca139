"""Trajectories of a two-dimensional mixture under every sampler."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Denoiser, mixture_denoiser
from diffusion.grid import uniform_log_snr_grid
from diffusion.noise import walk_noise
from diffusion.samplers import MARKOVIAN, SAMPLERS, dpmpp_2m, walk
from report.sampler_style import SAMPLER_COLOURS, SAMPLER_LABELS
from report.style import STYLE, save_png_and_svg

CENTRES = np.array([[1.6, 0.9], [-1.5, 1.0], [0.1, -1.7]])
SPREAD = 0.06  # variance of each mode
NUM_STEPS, NUM_ENDS = 12, 400
SMOOTH_PATHS, RANDOM_PATHS = 14, 3  # drawn of samples without and with noise on the way


def mixture() -> Denoiser:
    """Three round modes of equal weight."""
    modes = [Eigenbasis(centre, np.full(2, SPREAD), np.eye(2)) for centre in CENTRES]
    return mixture_denoiser(torch.full((3,), 1 / 3, dtype=torch.float64), modes)


def draw_paths(stem: Path) -> list[Path]:
    """Paths of a few samples and the ends of many, a panel a sampler, all from the same noise."""
    denoise = mixture()
    grid = uniform_log_snr_grid(NUM_STEPS, q_max=20.0, q_min=0.05)
    fine = uniform_log_snr_grid(400, q_max=20.0, q_min=0.05)
    start, noise = (part.double() for part in walk_noise(range(NUM_ENDS), NUM_STEPS, 2))
    panels_of = {"exact flow": ("0.35", walk(dpmpp_2m, denoise, fine, start, None))} | {
        SAMPLER_LABELS[name]: (SAMPLER_COLOURS[name], walk(update, denoise, grid, start, noise))
        for name, update in SAMPLERS.items()
    }
    random = [SAMPLER_LABELS[name] for name in MARKOVIAN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        for panel, (title, (colour, states)) in zip(
            figure.subplots(2, 4, sharex=True, sharey=True).flat, panels_of.items(), strict=True
        ):
            paths = torch.stack([start, *states]).numpy()  # (N + 1, B, 2)
            for centre in CENTRES:
                panel.plot(*centre, "+", color="0.3", markersize=7)
            shown = RANDOM_PATHS if title in random else SMOOTH_PATHS
            panel.plot(*paths[-1].T, ".", color=colour, markersize=1.5, alpha=0.5)
            panel.plot(paths[:, :shown, 0], paths[:, :shown, 1], color=colour, linewidth=0.6)
            panel.plot(*paths[0, :shown].T, "o", color="0.6", markersize=2)
            panel.set_title(title, fontsize=8)
            panel.set_aspect("equal")
            panel.set_xlim(-3.1, 3.1)
            panel.set_ylim(-3.1, 3.1)
        figure.supxlabel(
            f"{NUM_STEPS} steps from the same noise (grey dots) to a mixture of three modes (+); "
            f"{NUM_ENDS} ends",
            fontsize=8,
        )
        return save_png_and_svg(figure, stem)
