"""Train the noise estimator on encoded latents, resuming where an earlier run stopped.

Example:
    python -m scripts.train_noise_estimator --latents runs/latents --out runs/estimator
"""

from report.training import report_estimator_training
from sampling.config import TrainConfig
from sampling.train_noise_estimator import train_noise_estimator
from scripts.cli import main


def run(config: TrainConfig) -> None:
    """Train, and sum up the course."""
    train_noise_estimator(config)
    report_estimator_training(config.out)


if __name__ == "__main__":
    main(TrainConfig, run, __doc__)
