"""Check a folder of images before pretraining: layout, counts, sizes, splits.

Example:
    mergelab check_data --data data/celeba
"""

from scripts.cli import main
from vae.config import CheckConfig


def run(config: CheckConfig) -> None:
    """Look, and print what was found."""
    from vae.check_data import check_data

    check_data(config)


if __name__ == "__main__":
    main(CheckConfig, run, __doc__)
