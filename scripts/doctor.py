"""Report versions, device, embedded models and caches, and what is wrong with them.

Exit status 1 where something is.

Example:
    mergelab doctor
"""

from dataclasses import dataclass
from pathlib import Path

from scripts.cli import main
from vae.config import DEFAULT_CACHE


@dataclass(frozen=True)
class DoctorConfig:
    """Look at the installation."""

    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""


def run(config: DoctorConfig) -> None:
    """Print every finding, then the problems."""
    from scripts.health import examine

    problems = []
    for finding in examine(config.device, config.cache):
        print(f"{'WRONG' if finding.wrong else 'ok':6}{finding.what}: {finding.found}", flush=True)
        if finding.wrong:
            problems.append(f"{finding.what}: {finding.wrong}")
    print("\n".join(["", *problems]) if problems else "all is well")
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main(DoctorConfig, run, __doc__)
