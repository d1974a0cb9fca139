"""Draw new faces from noise with the noise estimator.

Example:
    mergelab sample_faces --sampler dpmpp_2m --steps 20 --count 64 --out runs/faces
"""

from sampling.config import SampleConfig
from scripts.cli import main


def run(config: SampleConfig) -> None:
    """Sample, then report."""
    from report.samples import report_samples
    from sampling.sample_faces import sample_faces

    report_samples(config, sample_faces(config))


if __name__ == "__main__":
    main(SampleConfig, run, __doc__)
