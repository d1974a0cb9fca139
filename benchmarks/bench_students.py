"""Students of scalar Gaussians: do both engines agree with theory and paper, and how fast.

Example:
    python -m benchmarks.bench_students --published tables.csv
"""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import mse_loss

from diffusion.schedule import cosine_schedule
from distill.config import SimulateConfig
from distill.published import compare_with_published, published_cells_of
from distill.simulate_students import SyntheticRow, simulate_students
from distill.synthetic import TRAINED_AS, load_or_compute_cells
from distill.train import least_norm_parameters, time_embedding
from experiment.device import pick_device
from planner.plan import Plan, merges
from planner.problem import make_problem
from planner.strategies import CANONICAL
from report.synthetic import published_verdict
from scripts.cli import main

PUBLISHED_TRIALS = 10
MANY_TRIALS = 4_000
KS_TRIALS = 2_000
KS_NUM_STEPS = 32
KS_VARIANCES = (0.2, 1.02, 5.0)
KS_BATCH_SIZE = 256  # a tenth of the paper's: the law is tested where its spread is widest


@dataclass(frozen=True)
class BenchConfig:
    """What the claims on the students' training are checked with."""

    published: Path | None = None
    """Published table to compare with: CSV with the columns T,lambda,strategy,mean,std."""


def run(config: BenchConfig) -> None:
    """Measure and print every claim."""
    print(f"{torch.get_num_threads()} threads, device {pick_device('auto')}")
    with tempfile.TemporaryDirectory() as folder:
        paper = SimulateConfig(out=Path(folder) / "simulated", engine="simulated")
        rows, seconds = timed(paper)
        print(f"simulated, all {10 * len(rows)} runs, T = 32..512: {seconds:.2f} s")
        print(f"simulated: {furthest(rows)}")
        few = replace(paper, out=Path(folder) / "sgd", engine="sgd", num_steps=(32,), device="cpu")
        rows, batched = timed(few)
        print(f"sgd, T = 32, {10 * len(rows)} runs: {batched:.1f} s; {furthest(rows)}")
        torch.manual_seed(0)
        started = time.perf_counter()
        deviation = plain_loop(few)
        plain = time.perf_counter() - started
        print(
            f"plain PyTorch loop over trials, the same: {plain:.1f} s, furthest mean from the "
            f"closed form {deviation:.1f} standard errors; ratio {plain / batched:.1f}"
        )
        if config.published is not None:
            compare(replace(paper, compare=config.published), Path(folder))
        compare_engines(Path(folder))


def timed(config: SimulateConfig) -> tuple[list[SyntheticRow], float]:
    """Rows of a run and the seconds it took."""
    started = time.perf_counter()
    return simulate_students(config), time.perf_counter() - started


def furthest(rows: list[SyntheticRow]) -> str:
    """The mean that lies furthest from the closed form, in standard errors."""
    deviation = max(abs(row.mean - row.predicted) / row.standard_error for row in rows)
    return f"furthest mean from the closed form {deviation:.1f} standard errors"


def plain_loop(config: SimulateConfig) -> float:
    """The training as one writes it down: trial by trial, merge by merge, step by step.

    Returns:
        The furthest mean from the closed form, in standard errors, over strategies and variances.
    """
    (num_steps,) = config.num_steps
    problem = make_problem(cosine_schedule(num_steps), np.array(config.variances))
    scales = torch.from_numpy(problem.second_moments).sqrt()
    embeddings = time_embedding(torch.arange(1, num_steps + 1, dtype=TRAINED_AS) / num_steps)
    furthest = 0.0
    for strategy in config.strategies:
        plan = CANONICAL[strategy](num_steps)
        finals = torch.stack(
            [
                plain_trial(config, plan, torch.from_numpy(problem.operators), scales, embeddings)
                for _ in range(config.trials)
            ]
        )
        errors = finals.numpy() - problem.surrogate
        device = torch.device("cpu")
        predicted = load_or_compute_cells(
            config, num_steps, strategy, config.steps_per_merge, device
        ).predicted
        standard_error = errors.std(axis=0, ddof=1) / config.trials**0.5
        furthest = max(furthest, (np.abs(errors.mean(axis=0) - predicted) / standard_error).max())
    return furthest


def plain_trial(
    config: SimulateConfig,
    plan: Plan,
    operators: torch.Tensor,
    scales: torch.Tensor,
    embeddings: torch.Tensor,
) -> torch.Tensor:
    """One training run of all variances, a fixed batch a merge; the final operator, (d,)."""
    theta = least_norm_parameters(operators, embeddings)  # (T, d, 64)
    for jump in merges(plan):
        t = jump.start - 1
        parts = [theta[part.start - 1] @ embeddings[part.start - 1] for part in jump.parts]
        target = torch.stack(parts).prod(dim=0)
        x_start = torch.randn(config.batch_size, len(target), dtype=TRAINED_AS) * scales[t]
        x_stop = target * x_start
        student = theta[t].clone().requires_grad_()
        optimizer = torch.optim.SGD([student], lr=config.lr)
        for _ in range(config.steps_per_merge):
            prediction = student @ embeddings[t] * x_start
            loss = mse_loss(prediction, x_stop, reduction="sum") / len(x_start)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        theta[t] = student.detach()
    return theta[plan.start - 1] @ embeddings[plan.start - 1]


def compare(config: SimulateConfig, folder: Path) -> None:
    """Means and spreads beside the published ones, over the paper's trials and over many."""
    published = published_cells_of(config)
    for trials in (config.trials, MANY_TRIALS):
        rows = simulate_students(replace(config, out=folder / f"published_{trials}", trials=trials))
        cells = compare_with_published(rows, published)
        print(f"simulated, {trials} trials: {published_verdict(cells)}")
    for strategy in config.strategies:
        ratios = np.array([cell.std_ratio for cell in cells if cell.strategy == strategy])
        # A published std is of ten trials: freedom / ratio**2 ~ chi2(freedom) if the laws agree.
        freedom = PUBLISHED_TRIALS - 1
        p = stats.kstest(freedom / ratios**2, stats.chi2(freedom).cdf).pvalue
        print(
            f"  {strategy}: std over published, median {np.median(ratios):.2f}, "
            f"{ratios.min():.2f} to {ratios.max():.2f}; as draws of ten trials, KS p = {p:.2f}"
        )


def compare_engines(folder: Path) -> None:
    """Two-sample Kolmogorov-Smirnov test of the engines, cell by cell."""
    config = SimulateConfig(
        out=folder / "ks_sgd",
        num_steps=(KS_NUM_STEPS,),
        variances=KS_VARIANCES,
        trials=KS_TRIALS,
        batch_size=KS_BATCH_SIZE,
        device="cpu",
    )
    simulated = replace(config, out=folder / "ks_simulated", engine="simulated")
    device = torch.device("cpu")
    for strategy in config.strategies:
        pair = [
            load_or_compute_cells(
                asked, KS_NUM_STEPS, strategy, config.steps_per_merge, device
            ).errors
            for asked in (config, simulated)
        ]
        for i, variance in enumerate(KS_VARIANCES):
            p = stats.ks_2samp(pair[0][:, i], pair[1][:, i]).pvalue
            print(f"engines, T = {KS_NUM_STEPS}, λ = {variance:g}, {strategy}: KS p = {p:.3f}")


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
