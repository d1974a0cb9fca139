"""What the strategy comparison and its pictures can be asked, checked when built."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CompareConfig:
    """Train students under every merge strategy and decode them beside the surrogate teacher."""

    out: Path
    """Run folder; the same command again goes on where it stopped."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file; without it, the embedded model."""
    latents: Path | None = None
    """Folder of encode_latents; without it, the embedded model's mean and covariance."""
    plan: Path | None = None
    """plans.json of plan_merges: train under its plans, for its T, at every stage; without it,
    plans are made for each stage."""
    num_steps: int = 32
    """Teacher steps T on the cosine schedule."""
    epochs: tuple[int, ...] = (10, 100)
    """Training stages: gradient steps a merge, the same for every strategy."""
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
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "lr", "num_images"):
            if not getattr(self, name) > 0:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be positive, got {getattr(self, name)}")
        if not self.epochs or min(self.epochs) < 1 or len(set(self.epochs)) < len(self.epochs):
            raise ValueError(
                f"--epochs must be different whole numbers of at least 1, got {self.epochs}"
            )
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")


@dataclass(frozen=True)
class DecodeConfig:
    """Draw the grids of decoded faces and heatmaps of a finished comparison anew."""

    run: Path
    """Run folder of compare_strategies."""
    out: Path | None = None
    """Folder for the grids; without it, figures/ in the run folder."""
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
        for name in ("first", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"--{name} must be at least 0, got {value}")
