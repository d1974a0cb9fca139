"""Distil trained networks under every merge strategy, and compare them with their teachers.

Example:
    mergelab distill_neural --steps-per-merge 30 100 --student-steps 1 2 4 --out runs/neural
"""

from neural.config import NeuralConfig
from scripts.cli import main


def run(config: NeuralConfig) -> None:
    """Train all students, then report."""
    from neural.distill_neural import distill_neural
    from report.neural import report_neural

    report_neural(config.out, distill_neural(config))


if __name__ == "__main__":
    main(NeuralConfig, run, __doc__)
