"""Trained VAEs side by side: what each makes of the same images, beside its latents' numbers."""

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from report.style import save_figure
from vae.compare import ComparedVaes, VaeRow


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
