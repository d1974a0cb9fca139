"""Compute and draw every figure of the theory.

Example:
    python -m scripts.plot_theory --out runs/theory
"""

from report.theory import TheoryConfig, draw_theory
from scripts.cli import main


def run(config: TheoryConfig) -> None:
    """Draw, and name each file as it is written."""
    for path in draw_theory(config):
        print(path)


if __name__ == "__main__":
    main(TheoryConfig, run, __doc__)
