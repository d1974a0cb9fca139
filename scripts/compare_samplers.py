"""Compare all samplers at 5 to 100 steps with the exact flow and with held-out latents.

Example:
    mergelab compare_samplers --latents runs/latents --out runs/samplers
"""

from sampling.config import CompareSamplersConfig
from scripts.cli import main


def run(config: CompareSamplersConfig) -> None:
    """Measure, then report."""
    from report.sampler_comparison import report_sampler_comparison
    from sampling.compare_samplers import compare_samplers, faces_by_sampler

    comparison = compare_samplers(config)
    report_sampler_comparison(config.out, comparison, faces_by_sampler(config, comparison.models))


if __name__ == "__main__":
    main(CompareSamplersConfig, run, __doc__)
