"""Train the noise estimator on encoded latents, or resume an earlier run.

Example:
    mergelab train_noise_estimator --latents runs/latents --out runs/estimator
"""

from sampling.config import TrainConfig
from scripts.cli import main


def run(config: TrainConfig) -> None:
    """Train, then report."""
    from report.training import report_estimator_training
    from sampling.train_noise_estimator import train_noise_estimator

    train_noise_estimator(config)
    report_estimator_training(config.out)


if __name__ == "__main__":
    main(TrainConfig, run, __doc__)
