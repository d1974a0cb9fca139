"""The flags of the commands in this package, checked when built."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from diffusion.schedule_choice import ScheduleFlags, refuse_idle_schedule
from experiment.flags import refuse_bad_seeds, refuse_below, refuse_not_positive
from experiment.folder import ADDED_LATER, CHANGES_NO_NUMBER
from experiment.track import Track, refuse_missing_package
from experiment.write import recorded_as

Sampler = Literal[
    "ddim", "euler_log_snr", "dpmpp_2m", "dpm_2m", "ddpm_small", "ddpm_large", "euler_ancestral"
]
LARGEST_Q = 1e7  # limit of sigma / alpha and of its inverse, for the sake of float32


@dataclass(frozen=True)
class TrainConfig(ScheduleFlags):
    """Train the noise estimator on encoded latents, or resume an earlier run."""

    latents: Path
    """Latents to train on: a folder of encode_latents (encoded without --moments-only), or a .npy,
    .npz or .safetensors file of numbers (N, ...) from any encoder. FILE.npz:NAME names one of
    several arrays. Of a file a random tenth is held out."""
    out: Path
    """Run folder. The same command resumes the run."""
    gradient_steps: int = field(default=3_000, metadata=recorded_as("num_updates"))
    """Gradient steps."""
    batch_size: int = 512
    """Noised latents per gradient step."""
    num_levels: int = 1_000
    """T of the schedule. Its noise levels t = 1..T are trained with equal probability."""
    width: int = 384
    """Hidden units of a residual block."""
    depth: int = 3
    """Residual blocks."""
    dropout: float = 0.2
    """Share of hidden units that dropout removes in training, against overfitting."""
    lr: float = 2e-3
    """Peak learning rate of AdamW: 5 % of the steps warm up, then a cosine decays to zero."""
    weight_decay: float = 0.1
    """Weight decay of AdamW."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights. The average is saved."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of the MLP's products. auto is bf16 on CUDA where that is fast. Everything else is
    float32."""
    seed: int = 0
    """Seed of initial weights, batches, noise levels and noise."""
    track: Track = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Also show the training in TensorBoard, or in Weights & Biases, which stays offline unless
    WANDB_MODE says otherwise. Each needs its
    extra: pip install '.[tensorboard]' or '.[wandb]'."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        sizes = ("gradient_steps", "batch_size", "num_levels", "width", "depth")
        refuse_not_positive(self, *sizes, "lr")
        refuse_below(self, 0, "weight_decay")
        refuse_bad_seeds(self, "seed")
        refuse_missing_package(self.track)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema-decay must be from 0 to below 1, got {self.ema_decay}")


@dataclass(frozen=True, kw_only=True)
class WalkConfig:
    """Flags of a walk from noise to latents."""

    sampler: Sampler = "dpmpp_2m"
    """Method that goes from noise to latents."""
    steps: int = 20
    """Steps from noise to latents: calls of the noise estimator per sample."""
    spacing: Literal["t", "log_snr", "karras"] = "log_snr"
    """Noise levels: uniform in t of the schedule, uniform in the half log-SNR, or Karras'."""
    q_max: float = 20.0
    """Largest sigma / alpha of the spacings log_snr and karras."""
    q_min: float = 0.02
    """Smallest sigma / alpha above 0 of the spacings log_snr and karras."""
    eta: float = 0.0
    """Share of DDPM's noise that the sampler ddim adds, from 0 to 1."""
    estimator: Path | None = None
    """Run folder of train_noise_estimator, or a .safetensors file. Default: the embedded model."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file. Default: the embedded model."""
    seed: int = 0
    """Seed of the noise. The noise of sample i depends only on the seed and i."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "steps")
        refuse_bad_seeds(self, "seed")
        if not self.q_max > self.q_min > 0:
            raise ValueError(f"need --q-max > --q-min > 0, got {self.q_max} and {self.q_min}")
        if not (self.q_max <= LARGEST_Q and self.q_min >= 1 / LARGEST_Q):
            raise ValueError(
                f"need --q-max <= {LARGEST_Q:g} and --q-min >= {1 / LARGEST_Q:g}, got {self.q_max} "
                f"and {self.q_min}"
            )
        if not 0 <= self.eta <= 1:
            raise ValueError(f"--eta must be from 0 to 1, got {self.eta}")
        if self.eta and self.sampler != "ddim":
            raise ValueError(f"--eta works with --sampler ddim only, got --sampler {self.sampler}")


@dataclass(frozen=True, kw_only=True)
class SampleConfig(ScheduleFlags, WalkConfig):
    """Draw new faces from noise."""

    out: Path
    """Run folder for samples.safetensors and the picture."""
    count: int = 64
    """Number of faces."""
    schedule: str = "cosine"  # recorded from the first version on

    png: Path | None = field(default=None, metadata=ADDED_LATER)
    """Folder for the faces as single images, 000000.png and so on, as clean-fid and
    torch-fidelity read them."""
    interpolate: tuple[int, int] | None = field(default=None, metadata=ADDED_LATER)
    """Numbers of two noises: draw --count faces on the way from one to the other."""

    attribute: str | None = field(default=None, metadata=ADDED_LATER)
    """Name of an attribute, such as Smiling: draw every face five times, at -2, -1, 0, 1 and 2
    times the attribute's direction."""
    attributes: Path | None = field(default=None, metadata=ADDED_LATER)
    """Folder of encode_latents --attributes, for --attribute."""

    fid: Path | None = field(default=None, metadata=ADDED_LATER)
    """Folder of images: also compute the FID of the faces against them. It needs the extra
    pip install '.[fid]', which downloads the weights of Inception at its first use."""

    # Flags of version 0.1.0, whose values config.json keeps, so that its run folders still match.
    RETIRED_FLAGS: ClassVar = {"compare": False, "latents": None, "compare_count": 2_000}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below(self, 1, "count")
        refuse_bad_seeds(self, "interpolate")
        if self.interpolate is not None and self.interpolate[0] == self.interpolate[1]:
            raise ValueError(f"--interpolate needs two different noises, got {self.interpolate}")
        if self.interpolate is not None and self.count < 2:
            raise ValueError("--interpolate needs a --count of at least 2, the two ends")
        refuse_idle_schedule(self, self.spacing)
        if (self.attribute is None) != (self.attributes is None):
            raise ValueError(
                "--attribute and --attributes (a folder of encode_latents --attributes) go "
                "together; give both or none"
            )
        if self.attribute is not None and self.interpolate is not None:
            raise ValueError("give either --interpolate or --attribute")
        if self.fid is not None and find_spec("torch_fidelity") is None:
            raise ValueError("--fid: torch-fidelity is not installed here; pip install '.[fid]'")
        if self.fid is not None and (self.attribute is not None or self.interpolate is not None):
            raise ValueError("--fid is for independent faces, without --interpolate or --attribute")


@dataclass(frozen=True, kw_only=True)
class CompareSamplersConfig(ScheduleFlags, WalkConfig):
    """Compare all samplers at 5 to 100 steps."""

    out: Path
    """Run folder for the table and the pictures."""
    latents: Path
    """Folder of encode_latents; samples are compared with its held-out latents."""
    spacing: Literal["t", "log_snr", "karras"] = "log_snr"
    """Noise levels of all samplers: uniform in t of the schedule, uniform in the half log-SNR, or
    Karras'."""
    sampler: Sampler = "dpmpp_2m"
    """Sampler that is tested against draws from the fitted Gaussian, with --steps and --eta."""
    count: int = 2_000
    """Samples behind each number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below(self, 1, "count")
        refuse_idle_schedule(self, self.spacing)


@dataclass(frozen=True)
class OperatorConfig(ScheduleFlags):
    """Compare the noise estimator's DDIM steps with the linear steps that the planner assumes."""

    latents: Path
    """Folder of encode_latents. Its held-out latents are noised and stepped."""
    out: Path
    """Run folder for the table and the figure."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule, or on that of --schedule."""
    estimator: Path | None = None
    """Run folder of train_noise_estimator, or a .safetensors file. Default: the embedded model."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file. Default: the embedded model."""
    seed: int = 0
    """Seed of the noise."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "num_steps")
        refuse_bad_seeds(self, "seed")
