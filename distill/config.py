"""The flags of the commands in this package, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from diffusion.gaussian import check_variances
from experiment.flags import (
    MOST_STEPS,
    refuse_above,
    refuse_bad_seeds,
    refuse_below,
    refuse_not_positive,
    refuse_repeats,
)
from experiment.folder import CHANGES_NO_NUMBER
from planner.budget import BUDGETS, BudgetKind


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
    budgets: tuple[BudgetKind, ...] = BUDGETS
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


Strategy = Literal[
    "vanilla",
    "progressive",
    "sequential_consistency",
    "sequential_boot",
    "per_dimension",
    "optimal",
]


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Students of scalar Gaussians: what the table and the convergence study have in common."""

    out: Path
    """Run folder; the same command again goes on where it stopped."""
    variances: tuple[float, ...] = (0.2, 0.5, 1.0, 1.02, 2.0, 5.0)
    """Data variances lambda, a coordinate each."""
    strategies: tuple[Strategy, ...] = (
        "vanilla",
        "progressive",
        "sequential_consistency",
        "sequential_boot",
    )
    """Merge strategies; per_dimension (also: optimal) plans each variance optimally by itself."""
    trials: int = 10
    """Training runs of every cell."""
    engine: Literal["sgd", "exact"] = "sgd"
    """sgd trains; exact draws from the law of the same training, with no batch and no step."""
    batches: Literal["fixed", "fresh"] = "fixed"
    """fixed keeps a trial's batches for all epochs, as the paper did; fresh draws every step."""
    batch_size: int = 2560
    """Inputs of a gradient step."""
    lr: float = 1e-3
    """Learning rate of plain gradient descent."""
    seed: int = 0
    """Decides every draw."""
    recompute: bool = field(default=False, metadata=CHANGES_NO_NUMBER)
    """Compute finished cells of the run folder again."""
    device: str = "auto"
    """Of engine sgd: auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        one_name = {"optimal": "per_dimension"}
        strategies = tuple(one_name.get(name, name) for name in self.strategies)
        object.__setattr__(self, "strategies", strategies)  # frozen, and still being built
        try:
            check_variances(np.array(self.variances))
        except ValueError as error:
            raise ValueError(f"--variances: {error}") from error
        refuse_repeats(self, "variances", "strategies")
        if self.trials < 2:
            raise ValueError(f"--trials must be at least 2, to have a spread, got {self.trials}")
        refuse_not_positive(self, "batch_size", "lr")
        refuse_bad_seeds(self, "seed")


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(SyntheticConfig):
    """Reproduce the paper's tables of synthetic experiments."""

    num_steps: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Teacher steps T on the cosine schedule, a block of the table each."""
    epochs: int = 100
    """Gradient steps a merge."""
    plan: Path | None = None
    """plans.json of plan_merges for the one T and these variances: train under its plans."""
    compare: Path | None = None
    """Published table to compare with: CSV with the columns T,lambda,strategy,mean,std."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_repeats(self, "num_steps")
        refuse_below(self, 1, "num_steps", "epochs")
        refuse_above(self, MOST_STEPS, "epochs")
        if self.plan is not None and len(self.num_steps) > 1:
            raise ValueError(f"--plan is for one T; give one --num-steps, not {self.num_steps}")


@dataclass(frozen=True, kw_only=True)
class ConvergenceConfig(SyntheticConfig):
    """Study how the error falls with the epochs, per merge and in total."""

    variances: tuple[float, ...] = (0.2, 1.0, 2.0, 5.0)
    """Data variances lambda, a panel each."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule."""
    epochs: tuple[int, ...] = (
        1,
        2,
        5,
        10,
        20,
        30,
        50,
        70,
        100,
        150,
        200,
        300,
        500,
        1000,
        2000,
        5000,
        10000,
    )
    """Gradient steps a merge; at equal totals, what a plan of T - 1 merges spends on each."""
    engine: Literal["sgd", "exact"] = "exact"
    """sgd trains; exact draws from the law of the same training, with no batch and no step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps < 2:
            raise ValueError(f"--num-steps must be at least 2, to merge, got {self.num_steps}")
        if "per_dimension" in self.strategies:
            raise ValueError(
                "--strategies per_dimension makes another plan at every epoch count; the study "
                "follows plans that stay"
            )
        refuse_repeats(self, "epochs")
        refuse_below(self, 1, "epochs")
        refuse_above(self, MOST_STEPS, "epochs")


@dataclass(frozen=True)
class PlanConfig:
    """Plan the merges of every strategy."""

    out: Path
    """Run folder for plans.json, the table and the picture."""
    variances: tuple[float, ...] | None = None
    """Variances of the coordinates; or give --latents."""
    latents: Path | None = None
    """Folder of encode_latents: plan for the variances of its coordinates."""
    num_steps: int | None = None
    """Teacher steps T; 32, or those of the schedule's file."""
    train_time: float = 6.4
    """Training time s: the shrinkage of a merge that starts at t is exp(-2 s n_t)."""
    budget: Literal["per_merge", "total"] = "per_merge"
    """Whether every merge trains for --train-time, or the merges of a plan share it."""
    schedule: str = "cosine"
    """cosine, linear_beta, or a JSON file {"alpha": [...], "sigma": [...]} of T + 1 numbers."""
    full_search: bool = False
    """Search each coordinate's plan in O(T**3) even where theory knows it."""

    def __post_init__(self) -> None:
        if (self.variances is None) == (self.latents is None):
            raise ValueError("give either --variances or --latents")
        refuse_below(self, 1, "num_steps")
        refuse_not_positive(self, "train_time")
