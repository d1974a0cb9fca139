"""Measure how few affine pieces approximate a teacher of two modes, and what early errors become.

Example:
    mergelab plot_mixture --out runs/mixture
"""

from neural.config import MixtureConfig
from scripts.cli import main


def run(config: MixtureConfig) -> None:
    """Measure, then report."""
    from neural.mixture import study_mixture
    from report.mixture import report_mixture

    report_mixture(config.out, study_mixture(config))


if __name__ == "__main__":
    main(MixtureConfig, run, __doc__)
