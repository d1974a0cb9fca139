"""Write the command-line reference, docs/cli.md, from the configs of the commands.

Example:
    mergelab write_cli_reference
"""

from dataclasses import dataclass
from pathlib import Path

from experiment.write import write_text
from scripts.cli import main


@dataclass(frozen=True)
class ReferenceConfig:
    """Write the command-line reference."""

    file: Path = Path("docs/cli.md")
    """File to write. An existing file is replaced."""


def run(config: ReferenceConfig) -> None:
    """Describe every command, and write."""
    from scripts.reference import cli_reference

    write_text(config.file, cli_reference())
    print(config.file)


if __name__ == "__main__":
    main(ReferenceConfig, run, __doc__)
