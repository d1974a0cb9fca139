"""Trained VAEs side by side: what each makes of the same images, beside its latents' numbers."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from experiment.folder import FIGURES, RESULTS
from report.style import STYLE, save_figure
from report.summary import markdown_table, write_summary
from vae.compare_vaes import ComparedVaes, VaeRow

HEADER = (
    "run",
    "beta",
    "epochs",
    "MS-SSIM",
    "PSNR in dB",
    "KL in nats",
    "off-diagonal energy",
    "largest correlation",
    "variances above 1",
    "active units",
)


def report_vaes(out: Path, compared: ComparedVaes, originals: bool) -> None:
    """Draw and sum up a comparison in the run folder ``out``."""
    figure = out / FIGURES / "reconstructions.png"
    draw_vaes(figure, compared, originals)
    table = markdown_table(HEADER, [_line(row) for row in compared.rows])
    text = "Reconstruction is of held-out images, the covariance of all.\n\n" + table
    write_summary(out, "Trained VAEs compared", text, [figure], [out / RESULTS])


def _line(row: VaeRow) -> list[str]:
    return [
        row.run,
        f"{row.beta:g}",
        str(row.epochs),
        f"{row.ms_ssim:.4f}",
        f"{row.psnr:.2f}",
        f"{row.kl:.1f}",
        f"{row.off_diagonal_energy:.1%}",
        f"{row.largest_correlation:.2f}",
        str(row.variances_above_1),
        str(row.active_units),
    ]


def draw_vaes(path: Path, compared: ComparedVaes, originals: bool) -> None:
    """A row of reconstructions for each run, its numbers at the left.

    Args:
        originals: Put the photographs above, which may not be published.
    """
    strips: list[tuple[str, Tensor]] = [("photographs", compared.originals)] if originals else []
    strips += [
        (_describe(row), images)
        for row, images in zip(compared.rows, compared.reconstructions, strict=True)
    ]
    columns = len(compared.originals)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 0.7 * columns, 0.78 * len(strips)))
        axes = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
        for ax, (text, images) in zip(axes, strips, strict=True):
            grid = make_grid(images, nrow=columns, padding=2, pad_value=1.0)
            ax.imshow(grid.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
            ax.set_axis_off()
            ax.text(-0.01, 0.5, text, transform=ax.transAxes, ha="right", va="center", fontsize=7)
        figure.subplots_adjust(left=0.3, right=1.0, top=1.0, bottom=0.0, hspace=0.06)
        save_figure(figure, path)


def _describe(row: VaeRow) -> str:
    return (
        f"β = {row.beta:g}, {row.epochs} epochs\n"
        f"MS-SSIM {row.ms_ssim:.3f}, PSNR {row.psnr:.1f} dB\n"
        f"off-diagonal energy {row.off_diagonal_energy:.1%}\n"
        f"{row.variances_above_1} variances above 1, {row.active_units} active units"
    )
