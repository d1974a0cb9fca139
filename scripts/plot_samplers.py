"""Compute and draw the theory of the samplers, and set what its source claims beside measurements.

Example:
    python -m scripts.plot_samplers --out runs/sampler_theory
"""

from report.plot_samplers import SamplerTheoryConfig, draw_sampler_theory
from scripts.cli import main

if __name__ == "__main__":
    main(SamplerTheoryConfig, draw_sampler_theory, __doc__)
