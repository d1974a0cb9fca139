"""Reproduce the paper's synthetic tables, by training or by simulation.

Example:
    mergelab simulate_students --engine simulated --compare tables.csv --out runs/tables
"""

from distill.config import SimulateConfig
from scripts.cli import main


def run(config: SimulateConfig) -> None:
    """Compute all cells, then report."""
    from distill.published import compare_with_published, published_cells_of
    from distill.simulate_students import simulate_students
    from report.synthetic import report_tables

    published = published_cells_of(config)
    rows = simulate_students(config)
    compared = compare_with_published(rows, published)
    report_tables(config.out, rows, compared, config.students.target)


if __name__ == "__main__":
    main(SimulateConfig, run, __doc__)
