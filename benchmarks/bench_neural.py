"""Neural students: the merges of all strategies side by side against one after another.

Both ways train the same students from the same teachers, in turns in one run. On a CPU the seconds
are those of the processor, on a GPU those of the clock.

Run:
    python -m benchmarks.bench_neural [--device cuda] [--rounds 3]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.cuda_timing import timed
from diffusion.covariance import Eigenbasis
from diffusion.schedule import cosine_schedule
from neural.config import NeuralConfig
from neural.data import ring, rows_of
from neural.distill_neural import AT_ONCE, Trained, cells_of_stages, train_cells
from neural.networks import HeadedEstimators
from neural.setting import Inputs, Setting, open_setting
from sampling.config import TrainConfig
from sampling.noise_estimator import NoiseEstimator

LATENT_DIM = 128
ONE_BY_ONE, SIDE_BY_SIDE = AT_ONCE["cpu"], AT_ONCE["cuda"]


def plane(out: Path, device: torch.device, **flags: object) -> Setting:
    """Two-dimensional students under every canonical strategy, of hardly trained teachers."""
    config = NeuralConfig(out=out, teacher_steps=200, device=str(device), **flags)  # type: ignore[arg-type]
    draw, schedule = ring(config.variances, config.separation), cosine_schedule(config.num_steps)
    return open_setting(config, Inputs(device, schedule, draw, np.array(config.variances), {}, {}))


def latents(out: Path, device: torch.device, width: int, depth: int, **flags: object) -> Setting:
    """Students of an estimator of this size with random weights, on random latents."""
    config = NeuralConfig(
        out=out,
        distribution="latents",
        latents=Path("latents"),
        batch_size=64,
        noises=256,
        budgets=("per_merge",),
        device=str(device),
        **flags,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    variances = np.linspace(0.2, 1.5, LATENT_DIM)
    data = Eigenbasis(np.zeros(LATENT_DIM), variances, np.eye(LATENT_DIM))
    teacher = NoiseEstimator(data, width, depth).to(device)
    members = HeadedEstimators(teacher, config.seeds)
    draw = rows_of(torch.randn(4_000, LATENT_DIM) * torch.from_numpy(variances).sqrt().float())
    schedule = cosine_schedule(config.num_steps)
    return open_setting(config, Inputs(device, schedule, draw, variances, {}, {}, members))


def train(setting: Setting, at_once: int) -> tuple[dict[str, Trained], float]:
    """Students of every cell, and the seconds that they took."""
    stages = cells_of_stages(setting).values()
    cells = {cell.name: cell for of_stage in stages for cell in of_stage.values()}
    beside = [[cell] for cell in cells.values()] if at_once == 1 else [list(cells.values())]
    found: dict[str, Trained] = {}

    def work() -> None:
        for own in beside:
            found.update(
                (cell.name, one)
                for cell, one in train_cells(setting, own, lambda passes: None, at_once)
            )

    if setting.inputs.device.type == "cuda":
        return found, timed(work, setting.inputs.device)
    started = time.process_time()
    work()
    return found, time.process_time() - started


def furthest(one: dict[str, Trained], other: dict[str, Trained]) -> float:
    """Largest relative difference of a student's error between two ways."""
    return max(
        float((other[name].scores.error / own.scores.error - 1.0).abs().max())
        for name, own in one.items()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both ways in turns and print medians, ratio and difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is run")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device(given.device)
    size = TrainConfig(latents=Path("."), out=Path("."))
    with tempfile.TemporaryDirectory() as work:
        out = Path(work)
        cases = {
            "plane": plane(out, device, budgets=("per_merge", "total"), steps_per_merge=(30,)),
            "latents": latents(out, device, size.width, size.depth, steps_per_merge=(2,)),
        }
        for name, setting in cases.items():
            turns = [
                [train(setting, at_once) for at_once in (ONE_BY_ONE, SIDE_BY_SIDE)]
                for _ in range(given.rounds)
            ]
            one, beside = (
                median(seconds for _, seconds in way) for way in zip(*turns, strict=True)
            )
            ratios = [first[1] / second[1] for first, second in turns]
            off = furthest(turns[0][0][0], turns[0][1][0])
            print(
                f"{name}: one after another {one:.2f} s, side by side {beside:.2f} s, ratio "
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); errors differ by "
                f"{off:.1e} at most"
            )


if __name__ == "__main__":
    main()
