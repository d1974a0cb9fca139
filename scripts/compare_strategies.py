"""Compare all merge strategies on the latents of a VAE, and recommend one.

Without --vae and --latents the command uses the embedded model.

Example:
    mergelab compare_strategies --vae runs/vae --latents runs/latents --out runs/compare
"""

from distill.config import CompareConfig
from scripts.cli import main


def run(config: CompareConfig) -> None:
    """Compare, tabulate, draw and report."""
    from distill.compare_strategies import compare_strategies
    from distill.results import ResultRow, tabulate
    from experiment.folder import RESULTS
    from experiment.write import write_rows
    from report.comparison import write_report
    from report.summary import list_files

    comparison = compare_strategies(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    results = config.out / RESULTS
    write_rows(results, rows, ResultRow)
    text, files = write_report(config.out, comparison, rows, config.seed)
    print(f"\n{text}\n")
    list_files([results, *files])


if __name__ == "__main__":
    main(CompareConfig, run, __doc__)
