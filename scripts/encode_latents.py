"""Encode face images to latents and describe their covariance.

Example:
    python -m scripts.encode_latents --data data/celeba --vae runs/vae --out runs/latents
"""

from report.latents import draw_latents
from scripts.cli import main
from vae.config import EncodeConfig
from vae.encode import encode_latents
from vae.latents import FILE_NAME, describe


def run(config: EncodeConfig) -> None:
    """Encode, describe and draw."""
    latents = encode_latents(config)
    facts = describe(latents.covariance)
    figure = config.out / "covariance.png"
    draw_latents(figure, latents.covariance.numpy(), facts)
    print(f"{latents.count} images; " + ", ".join(f"{k} {v:.4g}" for k, v in facts.items()))
    print(f"latents: {config.out / FILE_NAME}\nfigure: {figure}")


if __name__ == "__main__":
    main(EncodeConfig, run, __doc__)
