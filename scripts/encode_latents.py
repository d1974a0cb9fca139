"""Encode face images to latents and describe their covariance.

Example:
    python -m scripts.encode_latents --data data/celeba --vae runs/vae --out runs/latents
"""

from report.latents import report_latents
from scripts.cli import main
from vae.config import EncodeConfig
from vae.encode_latents import encode_latents


def run(config: EncodeConfig) -> None:
    """Encode, describe and draw."""
    report_latents(config.out, encode_latents(config))


if __name__ == "__main__":
    main(EncodeConfig, run, __doc__)
