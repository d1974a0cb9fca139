"""The command ``mergelab``, also ``python -m mergelab``."""

import sys

from scripts.commands import start


def main() -> None:
    """Run the command that the command line names."""
    start(sys.argv[1:])


if __name__ == "__main__":
    main()
