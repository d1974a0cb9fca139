"""Check versions, device, embedded models and caches.

The exit status is 1 if there is a fault.

Example:
    mergelab doctor
"""

from dataclasses import dataclass
from pathlib import Path

from scripts.cli import main
from vae.config import DEFAULT_CACHE


@dataclass(frozen=True)
class DoctorConfig:
    """Check the installation."""

    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    cache: Path = DEFAULT_CACHE
    """Folder of the cache of decoded images."""


def run(config: DoctorConfig) -> None:
    """Print every result, then the faults."""
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
