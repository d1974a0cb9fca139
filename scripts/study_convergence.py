"""Study how the error falls with training, at equal epochs a merge and at equal totals.

Example:
    python -m scripts.study_convergence --num-steps 32 --out runs/convergence
"""

from distill.convergence import ConvergenceRow, study_convergence
from distill.synthetic_config import ConvergenceConfig
from report.convergence import draw_convergence
from scripts.cli import main
from vae.files import write_rows


def run(config: ConvergenceConfig) -> None:
    """Finish all points, tabulate and draw."""
    rows = study_convergence(config)
    numbers, figure = config.out / "convergence.csv", config.out / "figures" / "convergence.png"
    write_rows(numbers, rows, ConvergenceRow)
    draw_convergence(figure, rows)
    print(f"numbers: {numbers}\nfigure: {figure}")


if __name__ == "__main__":
    main(ConvergenceConfig, run, __doc__)
