"""Draw new faces from noise with the noise estimator, or compare all samplers.

Examples:
    mergelab sample_faces --sampler dpmpp_2m --steps 20 --count 64 --out runs/faces
    mergelab sample_faces --compare --latents runs/latents --out runs/samplers
"""

from sampling.config import SampleConfig
from scripts.cli import main


def run(config: SampleConfig) -> None:
    """Sample and draw, or compare, tabulate and draw."""
    from report.sampler_comparison import report_sampler_comparison
    from report.samples import report_samples
    from sampling.compare_samplers import compare_samplers, faces_by_sampler
    from sampling.sample_faces import sample_faces

    if config.compare:
        comparison = compare_samplers(config)
        faces = faces_by_sampler(config, comparison.models)
        report_sampler_comparison(config.out, comparison, faces)
    else:
        report_samples(config, sample_faces(config))


if __name__ == "__main__":
    main(SampleConfig, run, __doc__)
