"""Train the noise estimator on encoded latents, resuming where an earlier run stopped.

Example:
    python -m scripts.train_noise_estimator --latents runs/latents --out runs/estimator
"""

from sampling.config import TrainConfig
from sampling.train_job import train
from scripts.cli import main

if __name__ == "__main__":
    main(TrainConfig, train, __doc__)
