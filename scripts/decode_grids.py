"""Draw face grids of a finished comparison for other noise, or more of them.

Example:
    mergelab decode_grids --run runs/compare --first 100 --columns 10
"""

from report.config import DecodeConfig
from scripts.cli import main


def run(config: DecodeConfig) -> None:
    """Decode, draw and report."""
    from report.decode_grids import decode_grids

    decode_grids(config)


if __name__ == "__main__":
    main(DecodeConfig, run, __doc__)
