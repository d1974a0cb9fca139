"""What a pretraining came to: the last epoch, the best, and the course."""

from collections.abc import Sequence
from pathlib import Path

from report.latents import COVARIANCE_FACTS
from report.summary import conclude, markdown_table
from report.training import draw_training, names_of
from vae.checkpoint import BEST_NAME, FILE_NAME
from vae.record import METRICS, read_metrics
from vae.run_folder import FIGURES

SHOWN = (
    ("MS-SSIM", "ms_ssim", "{:.4f}"),
    ("PSNR in dB", "psnr", "{:.2f}"),
    ("KL in nats", "kl", "{:.1f}"),
    ("active units", "active_units", "{:.0f}"),
    *COVARIANCE_FACTS,
)
PANELS = {
    "1 - MS-SSIM of training images": {"train_reconstruction": ""},
    "MS-SSIM, held out": {"ms_ssim": ""},
    "PSNR in dB, held out": {"psnr": ""},
    "latents' covariance, held out": {
        "off_diagonal_energy": "off-diagonal energy",
        "largest_correlation": "largest correlation",
    },
}


def conclude_pretraining(out: Path) -> None:
    """Draw the course of the run folder ``out``, summarise it, and say where things lie."""
    shown = [name for _, name, _ in SHOWN]
    rows = read_metrics(out, ["epoch", *shown, *names_of(PANELS)])
    course = out / FIGURES / "training.png"
    draw_training(course, rows, "epoch", PANELS)
    last_picture = out / FIGURES / f"epoch_{len(rows):04d}.png"
    files = [out / name for name in (FILE_NAME, BEST_NAME, METRICS)]
    conclude(out, "Pretrained VAE", _text(rows), [course, last_picture], files)


def _text(rows: Sequence[dict[str, float]]) -> str:
    last, best = rows[-1], max(rows, key=lambda row: row["ms_ssim"])
    columns = (("last", last), ("best MS-SSIM", best))
    header = ["held-out images", *(f"{name}: epoch {row['epoch']}" for name, row in columns)]
    lines = [
        [name, *(shape.format(row[field]) for _, row in columns)] for name, field, shape in SHOWN
    ]
    return markdown_table(header, lines)
