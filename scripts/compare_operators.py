"""Set the noise estimator's DDIM steps beside the linear ones that merges are planned with.

Example:
    python -m scripts.compare_operators --latents runs/latents --out runs/operators
"""

from report.operators import draw_operators
from sampling.config import OperatorConfig
from sampling.operators_job import compare_operators
from scripts.cli import main


def run(config: OperatorConfig) -> None:
    """Measure, draw, and print one line a step."""
    found = compare_operators(config)
    figure = config.out / "operators.png"
    draw_operators(figure, found)
    print("what the estimator adds to a linear step, of the squared error that this leaves")
    print("  t  full covariance  planner's variances")
    for row in found.rows:
        print(f"{row.t:3}  {row.from_full:15.2%}  {row.from_diagonal:19.2%}")
    print(f"numbers: {config.out / 'operators.csv'}\nfigure:  {figure}")


if __name__ == "__main__":
    main(OperatorConfig, run, __doc__)
