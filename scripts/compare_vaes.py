"""Compare trained VAEs on held-out images: reconstruction against how diagonal the latents are.

Example:
    python -m scripts.compare_vaes --data data/celeba --runs runs/beta_1e-4 runs/beta_3e-4 \\
        --out runs/vaes
"""

from report.vaes import report_vaes
from scripts.cli import main
from vae.compare_vaes import CompareVaesConfig, compare_vaes


def run(config: CompareVaesConfig) -> None:
    """Compare and draw."""
    report_vaes(config.out, compare_vaes(config), config.originals)


if __name__ == "__main__":
    main(CompareVaesConfig, run, __doc__)
