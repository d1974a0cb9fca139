"""The flags of distill_neural, checked when built; nothing heavy is imported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffusion.gaussian import LARGEST_VARIANCE
from diffusion.schedule_choice import ScheduleFlags
from experiment.flags import (
    MOST_STEPS,
    refuse_above,
    refuse_bad_seeds,
    refuse_below,
    refuse_not_positive,
    refuse_repeats,
)
from experiment.folder import CHANGES_NO_NUMBER
from experiment.track import Track, refuse_missing_package
from neural.student_plans import COMPUTE_BUDGETS, ComputeBudget

LEARNING_RATES = {"adam": 1e-3, "sgd": 0.02}
MOST_INPUTS = 10**9  # far beyond any memory, and counted in 64 bits
LATENT_LEARNING_RATES = {"adam": 3e-4, "sgd": 0.02}


@dataclass(frozen=True)
class NeuralConfig(ScheduleFlags):
    """Distil trained networks under every merge strategy, and measure them at their teachers."""

    out: Path
    """Run folder. The same command again resumes a run that was stopped."""
    distribution: Literal["ring", "gaussian", "latents"] = "ring"
    """ring: two-dimensional, five Gaussians on an ellipse; gaussian: one Gaussian, without modes;
    latents: real latents, whose teacher is the noise estimator."""
    variances: tuple[float, ...] = (0.17, 1.55)
    """Variances of the two coordinates of ring and gaussian."""
    separation: float = 6.0
    """Radius of the ring over the standard deviation of one of its Gaussians."""
    latents: Path | None = None
    """For --distribution latents: a folder of encode_latents, or a .npy, .npz or .safetensors file
    of numbers (N, ...) from any encoder, which needs --estimator, and --vae for faces.
    FILE.npz:NAME names one of several arrays."""
    estimator: Path | None = None
    """Teacher of latents: run folder of train_noise_estimator, or a .safetensors file;
    without it, the embedded one."""
    vae: Path | None = None
    """Decoder of latents: run folder of pretrain_vae, or a .safetensors file; without it,
    the embedded model."""
    plan: Path | None = None
    """plans.json of plan_merges for the same T. One-step students train under its joint plan,
    too."""
    num_steps: int = 16
    """Teacher steps T on the cosine schedule, or on that of --schedule."""
    student_steps: tuple[int, ...] = (1,)
    """Steps K of the student. Each is distilled from an equal share of the teacher's steps."""
    parametrisation: Literal["denoiser", "operator"] = "denoiser"
    """denoiser: a student is an x_0-network and jumps by the DDIM formula; operator: it is its
    noisiest teacher step, frozen, plus a trained head, as in the paper's linear theory."""
    loss: Literal["x_0", "z"] | None = None
    """Where the squared error is taken: on the estimate of x_0, or on the point that the jump
    reaches. Without it, x_0 for denoiser and z for operator, which has no x_0."""
    prediction: Literal["x_0", "v", "eps"] = "x_0"
    """What the two-dimensional networks predict. eps says nothing about x_0 at pure noise and is
    refused."""
    student: Literal["per_merge", "shared"] = "per_merge"
    """per_merge: every merge trains a network of its own; shared: all merges of a plan train one
    network, which takes both times of a jump as inputs."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """adam with a learning rate that falls to 0 over a merge, or sgd with a constant one."""
    lr: float | None = None
    """Learning rate; without it 1e-3 for adam (3e-4 on latents) and 0.02 for sgd."""
    budgets: tuple[ComputeBudget, ...] = COMPUTE_BUDGETS
    """per_merge trains every merge equally long. total gives every plan the same number of gradient
    steps, and compute the same number of forward passes: those of T - 1 merges of pairs. What does
    not divide evenly among the merges of a plan is not used."""
    steps_per_merge: tuple[int, ...] = (30, 100, 300)
    """Training stages: gradient steps per merge. Under total and compute they count for a plan that
    merges pairs."""
    teachers: int | None = None
    """Teachers, each trained from a seed of its own; without it 2, on latents always 1."""
    seeds: int = 3
    """Students per teacher, each trained on batches of its own."""
    teacher_steps: int = 3_000
    """Gradient steps of the two-dimensional teachers, on batches of four times --batch-size."""
    batch_size: int = 128
    """Inputs of a gradient step."""
    width: int = 64
    """Hidden units per layer of the two-dimensional networks."""
    depth: int = 3
    """Hidden layers of the two-dimensional networks."""
    noises: int = 4_096
    """Initial noises on which students are compared with their teachers."""
    export: bool = field(default=False, metadata=CHANGES_NO_NUMBER)
    """Also write the first student of every strategy and training length, from noise to data, as a
    torch.export program: students/*.pt2. Finished students without one are trained again."""
    columns: int = 8
    """Decoded faces per strategy, for --distribution latents."""
    seed: int = 0
    """Seed of teachers, batches and initial noise."""
    track: Track = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Also show the errors of finished students in TensorBoard, or in Weights & Biases, which stays
    offline unless WANDB_MODE says otherwise. Each needs its
    extra: pip install '.[tensorboard]' or '.[wandb]'."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        sizes = ("seeds", "teachers", "teacher_steps", "batch_size", "width", "depth", "columns")
        refuse_below(self, 1, *sizes, "steps_per_merge", "student_steps")
        refuse_below(self, 2, "num_steps", "noises")
        refuse_above(self, MOST_STEPS, "steps_per_merge")
        refuse_above(self, 16, "columns")
        refuse_above(self, MOST_INPUTS, "batch_size", "noises")
        refuse_not_positive(self, "lr", "separation")
        refuse_repeats(self, "student_steps", "budgets", "steps_per_merge")
        refuse_bad_seeds(self, "seed")
        refuse_missing_package(self.track)
        if len(self.variances) != 2:
            raise ValueError(f"--variances must be two, one per coordinate, got {self.variances}")
        if not all(0 < variance <= LARGEST_VARIANCE for variance in self.variances):
            raise ValueError(
                f"--variances must be positive, at most {LARGEST_VARIANCE:g}, got {self.variances}"
            )
        if max(self.student_steps) > self.num_steps:
            raise ValueError(
                f"--student-steps {max(self.student_steps)} are more than the teacher's "
                f"--num-steps {self.num_steps}; a student keeps at most as many"
            )
        if self.prediction == "eps":
            raise ValueError(
                "--prediction eps says nothing of x_0 at alpha = 0, where every plan starts; "
                "give x_0 or v"
            )
        self._refuse_what_does_not_go_together()

    def _refuse_what_does_not_go_together(self) -> None:
        if (self.distribution == "latents") != (self.latents is not None):
            raise ValueError(
                "--distribution latents and --latents (a folder of encode_latents) go together; "
                "give both or none"
            )
        if self.parametrisation == "operator" and self.loss == "x_0":
            raise ValueError("--loss x_0 is for --parametrisation denoiser; an operator has no x_0")
        if self.distribution == "latents":
            if self.teachers not in (None, 1):
                raise ValueError(
                    f"--teachers {self.teachers}: latents have one teacher, the estimator"
                )
            if self.prediction != "x_0":
                raise ValueError(
                    "--prediction is for the two-dimensional networks, not for latents"
                )
        if self.student == "shared" and (
            self.distribution == "latents" or self.parametrisation == "operator"
        ):
            raise ValueError(
                "--student shared takes --parametrisation denoiser on two-dimensional data"
            )

    @property
    def num_teachers(self) -> int:
        """Number of teachers: as given, else 2, or the one estimator of latents."""
        return self.teachers or (1 if self.distribution == "latents" else 2)

    @property
    def students_loss(self) -> Literal["x_0", "z"]:
        """The loss, with its default."""
        return self.loss or ("x_0" if self.parametrisation == "denoiser" else "z")

    @property
    def students_lr(self) -> float:
        """The learning rate, with its default."""
        rates = LATENT_LEARNING_RATES if self.distribution == "latents" else LEARNING_RATES
        return self.lr or rates[self.optimizer]


@dataclass(frozen=True)
class MixtureConfig:
    """Measure how well few affine pieces approximate the composites of a two-mode teacher."""

    out: Path
    """Run folder for the figure and the table."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule."""
    separations: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 5.0)
    """Distance of the modes from their middle, over the standard deviation of one."""
    gates: tuple[int, ...] = (1, 2, 4, 6)
    """Numbers of affine pieces: for each, the least error of such a student on the whole composite
    is computed (its floor)."""

    def __post_init__(self) -> None:
        refuse_repeats(self, "separations", "gates")
        refuse_below(self, 2, "num_steps")
        refuse_below(self, 1, "gates")
        refuse_above(self, 12, "gates")
        refuse_above(self, 1_024, "num_steps")
        if not all(0 < separation <= 20 for separation in self.separations):
            raise ValueError(f"--separations must be above 0, at most 20, got {self.separations}")
