"""Measure how the error falls with training, under both budgets.

Example:
    mergelab study_convergence --num-steps 32 --out runs/convergence
"""

from distill.config import ConvergenceConfig
from scripts.cli import main


def run(config: ConvergenceConfig) -> None:
    """Compute all points, then report."""
    from distill.study_convergence import study_convergence
    from report.convergence import report_convergence

    report_convergence(config.out, study_convergence(config), config.students.target)


if __name__ == "__main__":
    main(ConvergenceConfig, run, __doc__)
