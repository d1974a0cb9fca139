"""What the strategy comparison and its pictures can be asked, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vae.flags import (
    MOST_STEPS,
    refuse_above,
    refuse_bad_seeds,
    refuse_below,
    refuse_not_positive,
    refuse_repeats,
)
from vae.run_folder import CHANGES_NO_NUMBER

# What equal training means: equally long for every merge, as in [OM], or for every plan in all.
Budget = Literal["per_merge", "total"]
BUDGETS: tuple[Budget, ...] = ("per_merge", "total")


@dataclass(frozen=True)
class CompareConfig:
    """Compare all merge strategies: train their students, decode them, say which to take."""

    out: Path
    """Run folder; the same command again goes on where it stopped."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file; without it, the embedded model."""
    latents: Path | None = None
    """Folder of encode_latents; without it, the embedded model's mean and covariance."""
    plan: Path | None = None
    """plans.json of plan_merges: train under its plans, for its T, at every stage; without it,
    plans are made for each stage and budget."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule."""
    epochs: tuple[int, ...] = (10, 100, 1_000, 10_000)
    """Training stages: gradient steps of each merge. Under the total budget, those of each merge
    of a plan that makes T - 1; a plan of fewer merges shares the same total among them."""
    budgets: tuple[Budget, ...] = BUDGETS
    """per_merge trains every merge equally long, as the paper does; total every plan."""
    engine: Literal["auto", "sgd", "exact"] = "auto"
    """sgd takes every gradient step; exact evaluates in closed form what the steps on the very
    same batches lead to; auto is sgd on CUDA, exact on the CPU."""
    inputs: Literal["auto", "gaussian", "latents"] = "auto"
    """Students train on noised real latents or on Gaussians of the same variances; auto takes
    the latents where --latents holds them."""
    batch_size: int = 2560
    """Inputs in the one fixed batch of each time step."""
    lr: float = 1e-3
    """Learning rate of the students' plain gradient descent."""
    num_images: int = 64
    """Images decoded for the pixel distances."""
    seed: int = 0
    """Decides batches and initial noise."""
    num_seeds: int = 1
    """Training runs of everything, with the batches of seed, seed + 1, and so on."""
    workers: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Processes that train at once; without it, one a GPU, or on the CPU one a core for sgd and
    none beside this one for exact."""
    scheduler: str | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Address of a Dask scheduler, tcp://host:port: its workers train. They need this package
    and, for real latents, the same file at the same path."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        refuse_not_positive(self, "num_steps", "batch_size", "lr", "num_images", "num_seeds")
        refuse_repeats(self, "epochs", "budgets")
        refuse_below(self, 1, "epochs")
        refuse_above(self, MOST_STEPS, "epochs")
        refuse_bad_seeds(self, "seed")
        refuse_below(self, 1, "workers")
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("give either --workers, of this machine, or --scheduler")


@dataclass(frozen=True)
class DecodeConfig:
    """Draw the grids of decoded faces and heatmaps of a finished comparison anew."""

    run: Path
    """Run folder of compare_strategies."""
    out: Path | None = None
    """Run folder for the grids; without it, one below grids/ in that of the comparison."""
    vae: Path | None = None
    """The VAE of that run, should it lie elsewhere now; it is checked to be the same."""
    columns: int = 8
    """Faces in a row."""
    first: int = 0
    """Number of the first face in the run's noise bank; any number will do."""
    seed: int | None = None
    """Another noise bank than the run's."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= 16:
            raise ValueError(f"--columns must be from 1 to 16, got {self.columns}")
        refuse_bad_seeds(self, "first", "seed")
