"""Train students under every merge strategy and decode them beside the surrogate teacher.

Without --vae and --latents it runs on the embedded model.

Example:
    python -m scripts.compare_strategies --vae runs/vae --latents runs/latents --out runs/compare
"""

from distill.compare import compare
from distill.config import CompareConfig
from distill.results import tabulate, write_results
from report.comparison import draw_w2, table, write_summary
from report.grids import draw_grids
from scripts.cli import main
from vae.run_folder import describe_run

GRID_COLUMNS = 8


def run(config: CompareConfig) -> None:
    """Compare, tabulate, draw and summarise."""
    comparison = compare(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    write_results(config.out / "results.csv", rows)
    figures = config.out / "figures"
    draw_w2(figures / "w2.png", rows)
    grids = draw_grids(figures, comparison, config.seed, first=0, columns=GRID_COLUMNS)
    facts = describe_run(config.out)
    write_summary(config.out / "summary.md", rows, facts, [figures / "w2.png", *grids])
    print(f"\n{table(rows)}\n")
    print(f"summary: {config.out / 'summary.md'}")
    print(f"numbers: {config.out / 'results.csv'}")
    print(f"figures: {', '.join(str(path) for path in [figures / 'w2.png', *grids])}")


if __name__ == "__main__":
    main(CompareConfig, run, __doc__)
