"""Compute and draw the theory of the samplers, and set what its source claims beside measurements.

Example:
    python -m scripts.plot_samplers --out runs/sampler_theory
"""

from report.sampler_report import SamplerTheoryConfig, draw_sampler_theory
from scripts.cli import main


def run(config: SamplerTheoryConfig) -> None:
    """Draw, and name each file as it is written."""
    for path in draw_sampler_theory(config):
        print(path)


if __name__ == "__main__":
    main(SamplerTheoryConfig, run, __doc__)
