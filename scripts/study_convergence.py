"""Study how the error falls with training, at equal epochs a merge and at equal totals.

Example:
    python -m scripts.study_convergence --num-steps 32 --out runs/convergence
"""

from distill.config import ConvergenceConfig
from distill.study_convergence import study_convergence
from report.convergence import report_convergence
from scripts.cli import main


def run(config: ConvergenceConfig) -> None:
    """Finish all points, tabulate and draw."""
    report_convergence(config.out, study_convergence(config))


if __name__ == "__main__":
    main(ConvergenceConfig, run, __doc__)
