"""What the VAE's two jobs can be asked, checked when built."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vae.cache import DEFAULT_CACHE


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain the MS-SSIM VAE on a folder of face images."""

    data: Path
    """Folder of images, searched recursively; CelebA's own layouts and zip are understood."""
    out: Path
    """Run folder; the same command again resumes it."""
    epochs: int = 30
    """Passes over the training split."""
    batch_size: int = 128
    """Images per gradient step."""
    lr: float = 2e-3
    """Peak learning rate: warm-up over 5 % of the steps, under a cosine down to zero."""
    beta: float = 3e-4
    """Weight of the KL divergence in nats, beside 1 - MS-SSIM."""
    max_shift: int = 2
    """Training images move by up to so many pixels, against overfitting."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Convolutions in bf16 or float32; auto is bf16 on CUDA. The loss is float32 always."""
    seed: int = 0
    """Decides initial weights, batches, flips and noise."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be positive, got {getattr(self, name)}")
        for name in ("beta", "max_shift"):
            if not getattr(self, name) >= 0:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class EncodeConfig:
    """Encode a folder of images to latents with a pretrained VAE."""

    data: Path
    """Folder of images, as for pretraining; all splits are encoded."""
    out: Path
    """Folder for latents.safetensors, summary.json and the covariance figure."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file; without it, the embedded model."""
    moments_only: bool = False
    """Keep the mean and covariance alone: small, and nothing about single images."""
    batch_size: int = 512
    """Images encoded at a time; changes no result."""
    seed: int = 0
    """Recorded only: posterior means are deterministic."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")
