"""How long the strategy comparison takes on the embedded model, and what a GPU's steps cost.

Example:
    python -m benchmarks.bench_compare
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.cuda_timing import count_kernels, timed
from distill.compare_strategies import compare_strategies
from distill.config import CompareConfig
from distill.gradient_steps import fit_on_cuda
from distill.results import tabulate
from experiment.device import pick_device
from report.comparison import write_report
from scripts.cli import main
from vae.model import LATENT_DIM

BATCH_SIZE = 2560  # rows of a gradient step, as CompareConfig's
STEPS = 2_000  # timed at once on a GPU
LAUNCHES = 20_000


@dataclass(frozen=True)
class BenchConfig:
    """What to time."""

    skip_sgd: bool = False
    """Leave out real training on the CPU, which takes minutes where other work runs."""


def run(config: BenchConfig) -> None:
    """Measure and print every claim."""
    device = pick_device("auto")
    print(f"{torch.get_num_threads()} threads, device {device}")
    with tempfile.TemporaryDirectory() as folder:
        time_run(CompareConfig(out=Path(folder) / "closed_form", engine="closed_form"))
        if not config.skip_sgd:
            asked = CompareConfig(
                out=Path(folder) / "sgd", engine="sgd", steps_per_merge=(10, 100), device="cpu"
            )
            time_run(asked)
        if device.type == "cuda":
            time_run(CompareConfig(out=Path(folder) / "gpu", engine="sgd"))
            time_steps(device)


def time_run(config: CompareConfig) -> None:
    """Seconds of a whole comparison, with and without its images and figures."""
    started, worked = time.perf_counter(), time.process_time()
    comparison = compare_strategies(config)
    trained = time.perf_counter() - started
    rows = tabulate(comparison, config.num_images, config.seed)
    write_report(config.out, comparison, rows, config.seed)
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    stages = ", ".join(f"{steps:,}" for steps in config.steps_per_merge)
    print(
        f"{config.engine}, stages {stages}, {len(rows)} rows: {seconds:.1f} s, of which planning "
        f"and training {trained:.1f} s; processor time of this process {processor:.1f} s"
    )


def time_steps(device: torch.device) -> None:
    """Gradient steps a second on a GPU, beside what launches and memory would allow."""
    theta = torch.rand(LATENT_DIM, 64, device=device)
    embeddings = torch.rand(LATENT_DIM, 64, device=device) / 8
    x_start = torch.randn(BATCH_SIZE, LATENT_DIM, device=device)
    pair = (x_start, 0.5 * x_start)

    def fit(steps: int) -> Tensor:
        own = np.full(len(theta), steps)
        return fit_on_cuda(theta, embeddings, [pair] * steps, own, 1e-3, lambda: None)

    fit(STEPS)  # captures
    # The difference leaves out what every training does once.
    seconds = timed(lambda: fit(2 * STEPS), device) - timed(lambda: fit(STEPS), device)
    rate = STEPS / seconds
    kernels = (count_kernels(lambda: fit(2 * STEPS)) - count_kernels(lambda: fit(STEPS))) / STEPS
    one = torch.zeros(1, device=device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            one.add_(1.0)

    launch()
    launches = LAUNCHES / timed(launch, device)
    large = torch.empty(1 << 28, device=device)
    target = torch.empty_like(large)
    target.copy_(large)
    copies = min(timed(lambda: target.copy_(large), device) for _ in range(5))
    bandwidth = 2 * large.nbytes / copies
    # A step reads both batches at least once.
    least_bytes = 2 * x_start.nbytes
    print(f"{rate:.0f} gradient steps/s, {kernels:.1f} kernels a step")
    print(
        f"launch-rate limit of unfused steps: {launches:.0f} launches/s; the steps run at "
        f"{rate * kernels / launches:.0%} of it"
    )
    print(
        f"memory limit: {bandwidth / 1e9:.0f} GB/s measured; the steps need at least "
        f"{rate * least_bytes / bandwidth:.0%} of it, were nothing kept in cache"
    )


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
