"""Put runs of one command side by side: one table, one figure, and what differs between them.

Example:
    mergelab compare_runs --runs runs/a runs/b --out runs/a_and_b
"""

from report.config import CompareRunsConfig
from scripts.cli import main


def run(config: CompareRunsConfig) -> None:
    """Read, compare and report."""
    from report.compare_runs import compare_runs

    compare_runs(config)


if __name__ == "__main__":
    main(CompareRunsConfig, run, __doc__)
