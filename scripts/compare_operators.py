"""Set the noise estimator's DDIM steps beside the linear ones that merges are planned with.

Example:
    python -m scripts.compare_operators --latents runs/latents --out runs/operators
"""

from report.operators import report_operators
from sampling.compare_operators import compare_operators
from sampling.config import OperatorConfig
from scripts.cli import main


def run(config: OperatorConfig) -> None:
    """Measure, draw, and tell one line a step."""
    report_operators(config.out, compare_operators(config))


if __name__ == "__main__":
    main(OperatorConfig, run, __doc__)
