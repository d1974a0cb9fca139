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
from report.latents import draw_latents
from scripts.cli import main
from vae.latents import describe
from vae.run_folder import describe_run

GRID_COLUMNS = 8


def run(config: CompareConfig) -> None:
    """Compare, tabulate, draw and summarise."""
    comparison = compare(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    write_results(config.out / "results.csv", rows)
    folder = config.out / "figures"
    grids = draw_grids(folder, comparison, config.seed, first=0, columns=GRID_COLUMNS)
    figures = [folder / "w2.png", *grids, folder / "latents.png"]
    draw_w2(figures[0], rows)
    covariance = comparison.covariance
    draw_latents(figures[-1], covariance.numpy(), describe(covariance))
    write_summary(config.out / "summary.md", rows, describe_run(config.out), figures)
    print(f"\n{table(rows)}\n")
    print(f"summary: {config.out / 'summary.md'}\nnumbers: {config.out / 'results.csv'}")
    for figure in figures:
        print(f"figure:  {figure}")


if __name__ == "__main__":
    main(CompareConfig, run, __doc__)
