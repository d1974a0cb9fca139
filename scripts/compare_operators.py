"""Compare the noise estimator's DDIM steps with the linear steps that the planner assumes.

Example:
    mergelab compare_operators --latents runs/latents --out runs/operators
"""

from sampling.config import OperatorConfig
from scripts.cli import main


def run(config: OperatorConfig) -> None:
    """Measure, then report."""
    from report.operators import report_operators
    from sampling.compare_operators import compare_operators

    report_operators(config.out, compare_operators(config))


if __name__ == "__main__":
    main(OperatorConfig, run, __doc__)
