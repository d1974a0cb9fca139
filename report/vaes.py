"""The report of compare_vaes: reconstructions of the same images, and the numbers of each VAE."""

from pathlib import Path

from matplotlib.figure import Figure

from experiment.folder import FIGURES, RESULTS
from report.faces import DPI, draw_face_rows
from report.markdown import markdown_table
from report.page import Picture
from report.style import save_figure
from report.summary import write_summary
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
    """Draw and summarise a comparison in the run folder ``out``."""
    figure = out / FIGURES / "reconstructions.png"
    save_figure(draw_vaes(compared, originals), figure, DPI)
    table = markdown_table(HEADER, [_line(row) for row in compared.rows])
    text = (
        "Reconstruction is measured on held-out images, the covariance on all images.\n\n" + table
    )
    picture = Picture(figure, "The same held-out faces, reconstructed by every VAE.", is_photo=True)
    write_summary(out, "Trained VAEs compared", text, [picture], [out / RESULTS])


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


def draw_vaes(compared: ComparedVaes, originals: bool) -> Figure:
    """Draw one row of reconstructions per run, with its numbers at the left.

    Args:
        originals: Also draw the photographs, which may not be published.
    """
    rows = {"photographs": compared.originals} if originals else {}
    rows |= dict(zip(map(_describe, compared.rows), compared.reconstructions, strict=True))
    return draw_face_rows(rows, "the same held-out faces in every row")


def _describe(row: VaeRow) -> str:
    epochs = f"{row.epochs} epoch{'s' if row.epochs != 1 else ''}"
    return (
        f"{row.run}: β = {row.beta:g}, {epochs}\n"
        f"MS-SSIM {row.ms_ssim:.3f}, PSNR {row.psnr:.1f} dB\n"
        f"off-diagonal energy {row.off_diagonal_energy:.1%}\n"
        f"{row.variances_above_1} variances above 1, {row.active_units} active units"
    )
