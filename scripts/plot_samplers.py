"""Draw the theory of the samplers and compare the lecture's claims with measurements.

Example:
    mergelab plot_samplers --out runs/sampler_theory
"""

from report.config import SamplerTheoryConfig
from scripts.cli import main


def run(config: SamplerTheoryConfig) -> None:
    """Draw and report."""
    from report.plot_samplers import draw_sampler_theory

    draw_sampler_theory(config)


if __name__ == "__main__":
    main(SamplerTheoryConfig, run, __doc__)
