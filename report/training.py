"""Training curves from ``metrics.jsonl``, of the VAE and of the noise estimator."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from experiment.folder import FIGURES
from experiment.metrics import METRICS, read_metrics
from report.latents import COVARIANCE_FACTS
from report.markdown import Table
from report.page import Picture
from report.style import STYLE, save_figure, whole_numbers_below
from report.summary import write_summary
from sampling.estimator_file import ESTIMATOR_FILE
from vae.checkpoint import BEST_VAE_FILE, VAE_FILE

# No colours: those of strategies would name strategies.
LOOKS = ({"color": "black"}, {"color": "0.6"}, {"color": "0.35", "linestyle": ":"})
Panels = Mapping[str, Mapping[str, str]]


def names_of(panels: Panels) -> list[str]:
    """List the names of all lines, in order."""
    return [name for lines in panels.values() for name in lines]


def draw_training(rows: Sequence[Mapping[str, float]], x: str, panels: Panels) -> Figure:
    """Draw one panel per quantity, over the training.

    Args:
        rows: The records, in order.
        x: Column for the horizontal axis.
        panels: Axis label -> column of a line -> the line's label, empty if it is the only one.
    """
    places = [row[x] for row in rows]
    with matplotlib.rc_context(STYLE):
        columns = min(2, len(panels))
        depth = -(-len(panels) // columns)
        figure = Figure(figsize=(3.6 * columns, 2.3 * depth), layout="constrained")
        axes = figure.subplots(depth, columns, squeeze=False).flat
        for panel, (quantity, lines) in zip(axes, panels.items(), strict=True):
            for (name, label), look in zip(lines.items(), LOOKS, strict=False):
                values = [row[name] for row in rows]
                marker = "." if len(rows) < 20 else ""
                panel.plot(places, values, linewidth=1.3, marker=marker, label=label, **look)
            panel.set_xlabel(x)
            whole_numbers_below(panel, places)
            panel.set_ylabel(quantity)
            if any(lines.values()):
                panel.legend(fontsize=7, frameon=False)
    return figure


SHOWN = (
    ("MS-SSIM", "ms_ssim", "{:.4f}"),
    ("PSNR in dB", "psnr", "{:.2f}"),
    ("KL in nats", "kl", "{:.1f}"),
    ("active units", "active_units", "{:.0f}"),
    *COVARIANCE_FACTS,
)
VAE_PANELS = {
    "1 - MS-SSIM of training images": {"train_reconstruction": ""},
    "MS-SSIM, held out": {"ms_ssim": ""},
    "PSNR in dB, held out": {"psnr": ""},
    "latents' covariance, held out": {
        "off_diagonal_energy": "off-diagonal energy",
        "largest_correlation": "largest correlation",
    },
}


def report_pretraining(out: Path) -> None:
    """Draw the training curves, write the summary into ``out``, and print the files' paths."""
    shown = [name for _, name, _ in SHOWN]
    rows = read_metrics(out, ["epoch", *shown, *names_of(VAE_PANELS)])
    course = out / FIGURES / "training.png"
    save_figure(draw_training(rows, "epoch", VAE_PANELS), course)
    pictures = [
        Picture(course, "The training loss and the quality on held-out images, over the epochs."),
        *(
            Picture(
                out / FIGURES / f"epoch_{epoch:04d}.png",
                f"Held-out photographs, their reconstructions, and samples, after epoch {epoch}. "
                "Photographs may not be published.",
                is_photo=True,
            )
            for epoch in dict.fromkeys((1, len(rows)))
            if (out / FIGURES / f"epoch_{epoch:04d}.png").is_file()
        ),
    ]
    files = [out / name for name in (VAE_FILE, BEST_VAE_FILE, METRICS)]
    write_summary(out, "Pretrained VAE", [_table(rows)], pictures, files)


def _table(rows: Sequence[dict[str, float]]) -> Table:
    last, best = rows[-1], max(rows, key=lambda row: row["ms_ssim"])
    columns = (("last", last), ("best MS-SSIM", best))
    header = ["held-out images", *(f"{name}: epoch {row['epoch']}" for name, row in columns)]
    lines = [
        [name, *(shape.format(row[field]) for _, row in columns)] for name, field, shape in SHOWN
    ]
    return Table.of(header, lines)


ESTIMATOR_PANELS = {
    "squared error of the noise": {
        "train_loss": "training, with dropout",
        "held_out_loss": "held out",
        "held_out_loss_gaussian": "held out, exact for the Gaussian",
    }
}


def report_estimator_training(out: Path) -> None:
    """Draw the training curves, write the summary into ``out``, and print the files' paths."""
    rows = read_metrics(out, ["update", *names_of(ESTIMATOR_PANELS)])
    figure = out / FIGURES / "training.png"
    save_figure(draw_training(rows, "update", ESTIMATOR_PANELS), figure)
    last = rows[-1]
    picture = Picture(figure, "Squared error of the noise over the gradient steps.")
    text = (
        f"After {last['update']:,} gradient steps the squared error of the noise on held-out "
        f"latents is {last['held_out_loss']:.3f}. The exact denoiser of a Gaussian with the "
        f"training latents' moments has {last['held_out_loss_gaussian']:.3f}."
    )
    write_summary(out, "Noise estimator", text, [picture], [out / ESTIMATOR_FILE, out / METRICS])
