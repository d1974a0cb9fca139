"""Check a folder of images before pretraining: layout, counts, sizes, splits.

Example:
    python -m scripts.check_data --data data/celeba
"""

from scripts.cli import main
from vae.check_data import CheckConfig, check_data

if __name__ == "__main__":
    main(CheckConfig, check_data, __doc__)
