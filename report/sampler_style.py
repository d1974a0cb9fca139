"""Names and colours of the samplers, the same in every figure."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from numpy.typing import ArrayLike

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
