"""List the commands, or run one: ``python -m scripts COMMAND``."""

import sys

from scripts.commands import start

if __name__ == "__main__":
    start(sys.argv[1:])
