"""The flags of this package's commands, checked when built.

The package holds two laboratories, which share ``train``, ``inputs`` and ``law``: how students are
trained, on which batches, and what the theory says the training will give.

    on the latents of a VAE   compare_strategies, with jobs, executors and comparison, then
                              decode, results and recommend; export_student
    on scalar Gaussians       simulate_students and study_convergence, with synthetic and
                              published: the synthetic experiments of the paper

The command plan_merges plans without training anything.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from diffusion.gaussian import check_variances
from diffusion.schedule import Prediction
from diffusion.schedule_choice import ScheduleFlags
from experiment.flags import (
    MOST_STEPS,
    refuse_above,
    refuse_bad_seeds,
    refuse_below,
    refuse_not_positive,
    refuse_repeats,
)
from experiment.folder import ADDED_LATER, CHANGES_NO_NUMBER
from experiment.track import Track, refuse_missing_package
from experiment.write import recorded_as
from planner.budget import BUDGETS, BudgetKind, Stage
from planner.parametrisation import OPERATOR, Kind, Law, Loss, Parametrisation

# Version 0.1.0 called the gradient steps of a merge epochs, and both engines that take no step
# exact. Records keep these names, and the command line still accepts them.
RECORDED_STEPS = recorded_as("epochs")
RECORDED_ENGINE = recorded_as("engine", closed_form="exact")
RECORDED_SYNTHETIC_ENGINE = recorded_as("engine", simulated="exact")

Rotate = Literal["auto", "on", "off"]
ROTATION_FILE = "rotation.safetensors"  # in the run folder of rotated latents
Engine = Literal["sgd", "closed_form"]
SyntheticEngine = Literal["sgd", "simulated"]
JointSolver = Literal["greedy", "beam", "pareto"]
Strategy = Literal[
    "vanilla", "progressive", "sequential_consistency", "sequential_boot", "per_dimension"
]


def refuse_bad_variances(variances: tuple[float, ...] | None) -> None:
    """Refuse variances that nothing can be planned for. None (not given) is allowed.

    Raises:
        ValueError: with the flag, and the first offending coordinate and its value.
    """
    if variances is None:
        return
    if not variances:
        raise ValueError("--variances needs one or more numbers, with spaces between")
    try:
        check_variances(np.array(variances, dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"--variances: {error}") from error


def refuse_best_split(
    flag: str, budgets: tuple[BudgetKind, ...], student_steps: tuple[int, ...]
) -> None:
    """Refuse the best split of students of several steps, which is not known.

    Raises:
        ValueError: with both flags.
    """
    if "best_split" in budgets and student_steps != (1,):
        steps = " ".join(map(str, student_steps))
        raise ValueError(f"{flag} best_split is for --student-steps 1, not {steps}")


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Flags of the commands that plan or train: the run folder, and what students consist of."""

    out: Path
    """Run folder."""
    parametrisation: Kind = field(default="operator", metadata=ADDED_LATER)
    """operator: a student is one number per coordinate, as in the paper; denoiser: it estimates
    x_0 and jumps by the DDIM formula, as networks do."""
    loss: Loss | None = field(default=None, metadata=ADDED_LATER)
    """Squared error of the estimate of x_0, of the point z that the jump reaches, or of v.
    The default is x_0 for denoiser; operator takes z only."""
    prediction: Prediction = field(default="x_0", metadata=ADDED_LATER)
    """What a denoiser predicts. eps says nothing about x_0 at pure noise and is refused."""

    @property
    def students(self) -> Parametrisation:
        """What the students consist of; they train by gradient descent.

        Raises:
            ValueError: the flags do not go together.
        """
        return Parametrisation(self.parametrisation, self.loss, self.prediction)


@dataclass(frozen=True)
class CompareConfig(ScheduleFlags, StudentConfig):
    """Compare all merge strategies: train their students, decode them and recommend one."""

    out: Path
    """Run folder. The same command again resumes a run that was stopped."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file. Without it the embedded model is used,
    and latents from a file of any encoder are not decoded."""
    latents: Path | None = None
    """Folder of encode_latents, or a .npy, .npz or .safetensors file of numbers (N, ...) from any
    encoder. FILE.npz:NAME names one of several arrays. Without it the mean and the covariance of
    the embedded model's latents are used."""
    rotate: Rotate = field(default="auto", metadata=ADDED_LATER)
    """Train in the eigenbasis of the latents' covariance: on, off, or auto, which rotates if more
    than a fifth of the covariance's energy is off its diagonal."""
    plan: Path | None = None
    """plans.json of plan_merges, made for the same T: train under its plans at every stage.
    Without it the command plans for each stage and budget."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule, or on that of --schedule."""
    steps_per_merge: tuple[int, ...] = field(
        default=(10, 100, 1_000, 10_000), metadata=RECORDED_STEPS
    )
    """Training stages: gradient steps per merge. Under the total budget every plan takes
    (T - 1) times as many gradient steps in total, divided evenly over its merges."""
    budgets: tuple[BudgetKind, ...] = BUDGETS
    """per_merge trains every merge equally long, as the paper does; total trains every plan
    equally long; best_split does so too, and divides the steps of a plan over its merges as is
    best for it."""
    student_steps: tuple[int, ...] = field(default=(1,), metadata=ADDED_LATER)
    """Steps K of the student. Each is distilled from an equal share of the teacher's steps."""
    engine: Literal["auto"] | Engine = field(default="auto", metadata=RECORDED_ENGINE)
    """sgd takes every gradient step; closed_form computes what gradient steps on the same batches
    lead to; auto is sgd on CUDA and closed_form on the CPU."""
    inputs: Literal["auto", "gaussian", "latents"] = "auto"
    """What students train on: noised latents, or Gaussians of the same variances. auto takes the
    latents where the file of --latents holds them."""
    batch_size: int = 2560
    """Inputs in the one fixed batch of each time step."""
    lr: float = 1e-3
    """Learning rate of the students' plain gradient descent."""
    num_images: int = 64
    """Number of images that are decoded to measure pixel distances, if there is a VAE."""
    seed: int = 0
    """Seed of batches and initial noise."""
    num_seeds: int = 1
    """Number of training runs per strategy, stage and budget, with the batches of seed, seed + 1
    and so on."""
    workers: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Processes that train at once. Without it sgd uses one per GPU, or on the CPU one per core,
    and closed_form uses one. GPUs in exclusive-process mode need --workers 1, because the command
    itself uses a GPU too."""
    scheduler: str | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Address of a Dask scheduler, tcp://host:port: its workers train. They need this package
    and, to train on latents, the same file at the same path."""
    track: Track = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Also show the errors of finished students in TensorBoard, or in Weights & Biases, which stays
    offline unless WANDB_MODE says otherwise. Each needs its
    extra: pip install '.[tensorboard]' or '.[wandb]'."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        refuse_not_positive(self, "num_steps", "batch_size", "lr", "num_images", "num_seeds")
        refuse_repeats(self, "steps_per_merge", "budgets", "student_steps")
        refuse_below(self, 1, "steps_per_merge", "student_steps")
        refuse_above(self, MOST_STEPS, "steps_per_merge")
        refuse_above(self, self.num_steps, "student_steps")
        refuse_bad_seeds(self, "seed")
        refuse_below(self, 1, "workers")
        refuse_missing_package(self.track)
        if self.plan is not None and len(self.student_steps) > 1:
            raise ValueError(
                f"--plan is for one number of student steps, not for {self.student_steps}"
            )
        refuse_best_split("--budgets", self.budgets, self.student_steps)
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("give either --workers, of this machine, or --scheduler")
        _ = self.students  # refuses flags that do not go together

    @property
    def stages(self) -> list[Stage]:
        """Training stages, K by K and budget by budget."""
        return [
            Stage(budget, steps, student_steps)
            for student_steps in self.student_steps
            for budget in self.budgets
            for steps in self.steps_per_merge
        ]

    @property
    def seeds(self) -> range:
        """Seeds of the training runs."""
        return range(self.seed, self.seed + self.num_seeds)


@dataclass(frozen=True)
class ExportConfig:
    """Write one student of a finished comparison as files that need no mergelab."""

    run: Path
    """Run folder of compare_strategies."""
    out: Path
    """Run folder for the student."""
    strategy: str | None = None
    """Strategy of the student, as results.csv names it. This flag and the next four may be left
    out where the run has one value only."""
    budget: BudgetKind | None = None
    """Budget of the student."""
    steps_per_merge: int | None = None
    """Training stage of the student, as --steps-per-merge of the run names it."""
    student_steps: int | None = None
    """Steps K of the student."""
    seed: int | None = None
    """Seed of the batches that the student trained on."""
    vae: Path | None = None
    """The VAE of that run, if it has moved. It is checked to be the same."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "steps_per_merge", "student_steps")
        refuse_bad_seeds(self, "seed")


@dataclass(frozen=True)
class PlanConfig(ScheduleFlags, StudentConfig):
    """Plan the merges of every strategy."""

    out: Path
    """Run folder for plans.json, the table and the figure."""
    variances: tuple[float, ...] | None = None
    """Variances of the coordinates; or give --latents."""
    latents: Path | None = None
    """Latents to plan for: a folder of encode_latents, or a .npy, .npz or .safetensors file of
    numbers (N, ...) from any encoder. FILE.npz:NAME names one of several arrays."""
    rotate: Rotate = field(default="auto", metadata=ADDED_LATER)
    """Plan for latents in the eigenbasis of their covariance: on, off, or auto, which rotates if
    more than a fifth of the covariance's energy is off its diagonal."""
    num_steps: int | None = None
    """Teacher steps T. Without it T is 32, or that of the file of --schedule."""
    train_time: float = 6.4
    """Training time s. For operator the shrinkage of a merge that starts at t is exp(-2 s n_t)."""
    budget: BudgetKind = "per_merge"
    """per_merge: every merge trains for --train-time; total: the merges of a plan share it
    equally; best_split: they share it as is best for the plan."""
    schedule: str = field(default="cosine", kw_only=True)  # recorded from the first version on
    full_search: bool = False
    """Search each coordinate's plan even where theory knows it."""
    law: Law = field(default="gradient_flow", metadata=ADDED_LATER)
    """gradient_flow: plain gradient descent; constant_speed: Adam, which moves the prediction by
    --train-time at most per merge (denoiser only)."""
    student_steps: tuple[int, ...] = field(default=(1,), metadata=ADDED_LATER)
    """Steps K of the student. Each is distilled from an equal share of the teacher's steps."""
    solvers: tuple[JointSolver, ...] = field(
        default=("greedy", "beam", "pareto"), metadata=CHANGES_NO_NUMBER
    )
    """Solvers that look for one plan for all coordinates. --solvers without a name runs none."""
    time_limit: float | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Seconds per solver, after which it gives its best plan so far. Without it, a solver that
    would take more than a minute is left out."""

    def __post_init__(self) -> None:
        if (self.variances is None) == (self.latents is None):
            raise ValueError("give either --variances or --latents")
        refuse_bad_variances(self.variances)
        if self.latents is None and self.rotate != "auto":
            raise ValueError(f"--rotate {self.rotate} needs --latents")
        refuse_below(self, 1, "num_steps", "student_steps")
        refuse_repeats(self, "student_steps")
        refuse_not_positive(self, "train_time", "time_limit")
        refuse_best_split("--budget", (self.budget,), self.student_steps)
        if self.budget == "best_split" and self.law != "gradient_flow":
            raise ValueError("--budget best_split is for --law gradient_flow")
        _ = self.students  # refuses flags that do not go together

    @property
    def students(self) -> Parametrisation:
        """What the students consist of and how they train."""
        return Parametrisation(self.parametrisation, self.loss, self.prediction, self.law)


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(ScheduleFlags, StudentConfig):
    """Flags that both synthetic experiments share."""

    out: Path
    """Run folder. The same command again resumes a run that was stopped."""
    variances: tuple[float, ...] = (0.2, 0.5, 1.0, 1.02, 2.0, 5.0)
    """Data variances lambda, one per coordinate."""
    strategies: tuple[Strategy, ...] = (
        "vanilla",
        "progressive",
        "sequential_consistency",
        "sequential_boot",
    )
    """Merge strategies. per_dimension finds the optimal plan of each variance; only
    simulate_students takes it."""
    trials: int = 10
    """Training runs of every cell."""
    engine: SyntheticEngine = field(default="sgd", metadata=RECORDED_SYNTHETIC_ENGINE)
    """sgd trains; simulated draws from the exact law of the training result, with no batch and no
    gradient step."""
    batches: Literal["fixed", "fresh"] = "fixed"
    """fixed trains every gradient step of a merge on one batch, as the paper did; fresh draws a
    new batch for every gradient step."""
    batch_size: int = 2560
    """Inputs of a gradient step."""
    lr: float = 1e-3
    """Learning rate of plain gradient descent."""
    seed: int = 0
    """Seed of every draw."""
    recompute: bool = field(default=False, metadata=CHANGES_NO_NUMBER)
    """Compute the finished cells of the run folder again."""
    track: Track = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Also show the errors of finished students in TensorBoard, or in Weights & Biases, which stays
    offline unless WANDB_MODE says otherwise. Each needs its
    extra: pip install '.[tensorboard]' or '.[wandb]'."""
    device: str = "auto"
    """Device of the engine sgd: auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        refuse_bad_variances(self.variances)
        refuse_repeats(self, "variances", "strategies")
        refuse_missing_package(self.track)
        _ = self.students  # refuses flags that do not go together
        if self.trials < 2:
            raise ValueError(f"--trials must be at least 2, to have a spread, got {self.trials}")
        refuse_not_positive(self, "batch_size", "lr")
        refuse_bad_seeds(self, "seed")


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(SyntheticConfig):
    """Reproduce the paper's tables of synthetic experiments."""

    num_steps: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Teacher steps T, one block of the table per T."""
    steps_per_merge: int = field(default=100, metadata=RECORDED_STEPS)
    """Gradient steps per merge."""
    plan: Path | None = None
    """plans.json of plan_merges for the one T and these variances: train under its plans."""
    compare: Path | None = None
    """Published table to compare with: CSV with the columns T,lambda,strategy,mean,std."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_repeats(self, "num_steps")
        refuse_below(self, 1, "num_steps", "steps_per_merge")
        refuse_above(self, MOST_STEPS, "steps_per_merge")
        if self.compare is not None and self.students != OPERATOR:
            raise ValueError("--compare: the published tables are of --parametrisation operator")
        if self.plan is not None and len(self.num_steps) > 1:
            raise ValueError(f"--plan is for one T; give one --num-steps, not {self.num_steps}")


@dataclass(frozen=True, kw_only=True)
class ConvergenceConfig(SyntheticConfig):
    """Measure how the error falls with training, under both budgets."""

    variances: tuple[float, ...] = (0.2, 1.0, 2.0, 5.0)
    """Data variances lambda, one per panel."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule, or on that of --schedule."""
    steps_per_merge: tuple[int, ...] = field(
        default=(
            *(1, 2, 5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 500),
            *(1_000, 2_000, 5_000, 10_000),
        ),
        metadata=RECORDED_STEPS,
    )
    """Training lengths in gradient steps per merge. Under the total budget every plan takes
    (T - 1) times as many gradient steps in total, divided evenly over its merges."""
    engine: SyntheticEngine = field(default="simulated", metadata=RECORDED_SYNTHETIC_ENGINE)
    """sgd trains; simulated draws from the exact law of the training result, with no batch and no
    gradient step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps < 2:
            raise ValueError(f"--num-steps must be at least 2, to merge, got {self.num_steps}")
        if "per_dimension" in self.strategies:
            raise ValueError(
                "--strategies per_dimension makes another plan at every training length; the study "
                "follows plans that stay"
            )
        refuse_repeats(self, "steps_per_merge")
        refuse_below(self, 1, "steps_per_merge")
        refuse_above(self, MOST_STEPS, "steps_per_merge")
