"""What a training of the noise estimator came to."""

from pathlib import Path

from report.summary import conclude
from report.training import draw_training, names_of
from sampling.checkpoint import FILE_NAME
from vae.record import METRICS, read_metrics
from vae.run_folder import FIGURES

PANELS = {
    "squared error of the noise": {
        "train_loss": "training, with dropout",
        "held_out_loss": "held out",
        "held_out_loss_gaussian": "held out, exact for the Gaussian",
    }
}


def conclude_training(out: Path) -> None:
    """Draw the course of the run folder ``out``, summarise it, and say where things lie."""
    rows = read_metrics(out, ["update", *names_of(PANELS)])
    figure = out / FIGURES / "training.png"
    draw_training(figure, rows, "update", PANELS)
    last = rows[-1]
    text = (
        f"After {last['update']:,} updates the squared error of the noise on held-out latents is "
        f"{last['held_out_loss']:.3f}; the denoiser that is exact for a Gaussian of the training "
        f"latents' moments has {last['held_out_loss_gaussian']:.3f}."
    )
    conclude(out, "Noise estimator", text, [figure], [out / FILE_NAME, out / METRICS])
