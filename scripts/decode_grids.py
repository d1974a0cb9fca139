"""Draw the face grids of a finished comparison anew, with other faces or more of them.

Example:
    python -m scripts.decode_grids --run runs/compare --first 100 --columns 10
"""

from distill.comparison import open_comparison
from distill.config import DecodeConfig
from report.grids import draw_grids
from report.summary import tell
from scripts.cli import main


def run(config: DecodeConfig) -> None:
    """Reopen, decode and draw."""
    comparison = open_comparison(config.run, config.vae, config.device)
    seed = comparison.seed if config.seed is None else config.seed
    folder = config.out or config.run / "figures"
    tell(draw_grids(folder, comparison, seed, config.first, config.columns).values())


if __name__ == "__main__":
    main(DecodeConfig, run, __doc__)
