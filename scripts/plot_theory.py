"""Compute and draw every figure of the theory.

Example:
    mergelab plot_theory --out runs/theory
"""

from report.config import TheoryConfig
from scripts.cli import main


def run(config: TheoryConfig) -> None:
    """Draw and report."""
    from report.plot_theory import draw_theory

    draw_theory(config)


if __name__ == "__main__":
    main(TheoryConfig, run, __doc__)
