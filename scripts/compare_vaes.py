"""Compare trained VAEs on held-out images: reconstruction, and how diagonal the latents are.

Example:
    mergelab compare_vaes --data data/celeba --runs runs/beta_1e-4 runs/beta_3e-4 --out runs/vaes
"""

from scripts.cli import main
from vae.config import CompareVaesConfig


def run(config: CompareVaesConfig) -> None:
    """Compare, then report."""
    from report.vaes import report_vaes
    from vae.compare_vaes import compare_vaes

    report_vaes(config.out, compare_vaes(config), config.originals)


if __name__ == "__main__":
    main(CompareVaesConfig, run, __doc__)
