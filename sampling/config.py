"""What training the noise estimator and sampling with it can be asked, checked when built."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiment.flags import refuse_bad_seeds, refuse_below, refuse_not_positive

Sampler = Literal[
    "ddim", "euler_log_snr", "dpmpp_2m", "dpm_2m", "ddpm_small", "ddpm_large", "euler_ancestral"
]


@dataclass(frozen=True)
class TrainConfig:
    """Train the noise estimator on encoded latents, resuming where an earlier run stopped."""

    latents: Path
    """Folder of encode_latents, with the latents themselves (not --moments-only)."""
    out: Path
    """Run folder; the same command again resumes it."""
    num_updates: int = 3_000
    """Gradient steps."""
    batch_size: int = 512
    """Noised latents in each step."""
    num_levels: int = 1_000
    """T of the cosine schedule whose noise levels t = 1..T are trained on, all equally often."""
    width: int = 384
    """Hidden units of a residual block."""
    depth: int = 3
    """Residual blocks."""
    dropout: float = 0.2
    """Share of hidden units left out in training, against overfitting."""
    lr: float = 2e-3
    """Peak learning rate of AdamW: warm-up over 5 % of the updates, under a cosine to zero."""
    weight_decay: float = 0.1
    """Of AdamW."""
    ema_decay: float = 0.99
    """Of the exponential moving average of the weights, which is what is kept."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """The MLP's products in bf16 or float32; auto is bf16 on CUDA. The rest is float32 always."""
    seed: int = 0
    """Decides initial weights, batches, noise levels and noise."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        sizes = ("num_updates", "batch_size", "num_levels", "width", "depth")
        refuse_not_positive(self, *sizes, "lr")
        refuse_below(self, 0, "weight_decay")
        refuse_bad_seeds(self, "seed")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema-decay must be from 0 to below 1, got {self.ema_decay}")


@dataclass(frozen=True)
class SampleConfig:
    """Draw new faces from noise, or compare all samplers at it."""

    out: Path
    """Run folder for samples.safetensors and the picture, or for the comparison."""
    sampler: Sampler = "dpmpp_2m"
    """Method that goes from noise to latents."""
    steps: int = 20
    """Steps from noise to face: calls of the noise estimator."""
    count: int = 64
    """Faces."""
    spacing: Literal["t", "log_snr", "karras"] = "log_snr"
    """Noise levels: uniform in t of the schedule, uniform in the half log-SNR, or Karras'."""
    schedule: str = "cosine"
    """Of spacing t: cosine, linear_beta, or a JSON file {"alpha": [...], "sigma": [...]}."""
    q_max: float = 20.0
    """Of the other spacings: sigma / alpha to start at."""
    q_min: float = 0.02
    """Of the other spacings: the last sigma / alpha above 0."""
    eta: float = 0.0
    """Of ddim: share of DDPM's noise, from 0 to 1."""
    estimator: Path | None = None
    """Run folder of train_noise_estimator, or a .safetensors file; without it, the embedded one."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file; without it, the embedded model."""
    compare: bool = False
    """Compare all samplers over 5 to 100 steps instead; needs --latents."""
    latents: Path | None = None
    """Folder of encode_latents, whose held-out latents the comparison measures against."""
    compare_count: int = 2_000
    """Samples behind each figure of the comparison."""
    seed: int = 0
    """Decides the noise: sample i from (seed, i) alone."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "steps", "count", "compare_count")
        refuse_bad_seeds(self, "seed")
        if not self.q_max > self.q_min > 0:
            raise ValueError(
                f"--q-max must exceed --q-min, and that 0, got {self.q_max} and {self.q_min}"
            )
        if self.spacing == "t" and (self.compare or self.sampler == "euler_log_snr"):
            raise ValueError(
                "--spacing t starts at alpha = 0, where euler_log_snr cannot; give --spacing "
                "log_snr or karras"
            )
        if not 0 <= self.eta <= 1:
            raise ValueError(f"--eta must be from 0 to 1, got {self.eta}")
        if self.eta and self.sampler != "ddim":
            raise ValueError(f"--eta is of --sampler ddim alone, got --sampler {self.sampler}")
        if self.compare and self.latents is None:
            raise ValueError(
                "--compare measures against held-out latents: give --latents a folder of "
                "encode_latents"
            )


@dataclass(frozen=True)
class OperatorConfig:
    """Set the noise estimator's DDIM steps beside the linear ones that merges are planned with."""

    latents: Path
    """Folder of encode_latents, whose held-out latents are noised and stepped."""
    out: Path
    """Run folder for the table and the figure."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule."""
    estimator: Path | None = None
    """Run folder of train_noise_estimator, or a .safetensors file; without it, the embedded one."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file; without it, the embedded model."""
    seed: int = 0
    """Decides the noise."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "num_steps")
        refuse_bad_seeds(self, "seed")
