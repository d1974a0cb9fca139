"""Encode face images to latents and describe their covariance.

Example:
    mergelab encode_latents --data data/celeba --vae runs/vae --out runs/latents
"""

from scripts.cli import main
from vae.config import EncodeConfig


def run(config: EncodeConfig) -> None:
    """Encode, then report."""
    from report.latents import report_latents
    from vae.encode_latents import encode_latents

    report_latents(config.out, encode_latents(config))


if __name__ == "__main__":
    main(EncodeConfig, run, __doc__)
