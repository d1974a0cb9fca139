"""Reproduce the paper's synthetic tables, by training or by exact simulation.

Example:
    python -m scripts.simulate_students --engine exact --compare tables.csv --out runs/tables
"""

from distill.paper import compare_with_published, read_published
from distill.simulate import simulate
from distill.synthetic_config import SimulateConfig
from report.students import write_report
from scripts.cli import main


def run(config: SimulateConfig) -> None:
    """Finish all cells, tabulate, draw and compare."""
    published = None if config.compare is None else read_published(config.compare)
    rows = simulate(config)
    compared = None if published is None else compare_with_published(rows, published)
    print(write_report(config.out, rows, compared))


if __name__ == "__main__":
    main(SimulateConfig, run, __doc__)
