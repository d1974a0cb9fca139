"""Draw face grids of a finished comparison with other faces, or more of them.

Example:
    python -m scripts.decode_grids --run runs/compare --first 100 --columns 10
"""

from distill.config import DecodeConfig
from report.decode_grids import decode_grids
from scripts.cli import main

if __name__ == "__main__":
    main(DecodeConfig, decode_grids, __doc__)
