"""Set the noise estimator's DDIM steps beside the linear ones that merges are planned with.

Example:
    python -m scripts.compare_operators --latents runs/latents --out runs/operators
"""

from report.operators import conclude_operators
from sampling.config import OperatorConfig
from sampling.operators_job import compare_operators
from scripts.cli import main


def run(config: OperatorConfig) -> None:
    """Measure, draw, and tell one line a step."""
    conclude_operators(config.out, compare_operators(config))


if __name__ == "__main__":
    main(OperatorConfig, run, __doc__)
