"""Compute and draw every figure of the theory.

Example:
    python -m scripts.plot_theory --out runs/theory
"""

from report.plot_theory import TheoryConfig, draw_theory
from scripts.cli import main

if __name__ == "__main__":
    main(TheoryConfig, draw_theory, __doc__)
