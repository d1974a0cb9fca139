"""Write the command-line reference, docs/cli.md, from the jobs' configs.

Example:
    python -m scripts.write_cli_reference
"""

from dataclasses import dataclass
from pathlib import Path

from experiment.write import write_text
from scripts.cli import main
from scripts.reference import cli_reference


@dataclass(frozen=True)
class ReferenceConfig:
    """Write the command-line reference."""

    file: Path = Path("docs/cli.md")
    """File to write; one that is there is replaced."""


def run(config: ReferenceConfig) -> None:
    """Describe every job, and write."""
    write_text(config.file, cli_reference())
    print(config.file)


if __name__ == "__main__":
    main(ReferenceConfig, run, __doc__)
