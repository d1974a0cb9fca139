"""What the VAE's two jobs can be asked, checked when built."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiment.flags import refuse_bad_seeds, refuse_below, refuse_not_positive
from experiment.folder import CHANGES_NO_NUMBER

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mergelab"


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
    """Images per gradient step, over all processes."""
    lr: float = 2e-3
    """Peak learning rate: warm-up over 5 % of the steps, under a cosine down to zero."""
    beta: float = 3e-4
    """Weight of the KL divergence in nats, beside 1 - MS-SSIM."""
    l1: float = 0.0
    """Weight of the mean absolute difference of the pixels, for colours."""
    image_size: Literal[32, 48, 64, 96, 128] = 64
    """Pixels a side of the square that images are cropped and resized to."""
    max_shift: int = 2
    """Training images move by up to so many pixels, against overfitting."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Convolutions in bf16 or float32; auto is bf16 where fast, on CUDA and newer CPUs. The loss is
    float32 always."""
    seed: int = 0
    """Decides initial weights, batches, flips and noise."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. Sums differ in their last bits."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""
    images: Literal["auto", "resident", "streamed"] = field(
        default="auto", metadata=CHANGES_NO_NUMBER
    )
    """Training images on the device, or read ahead from the cache; auto streams what is large."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto is on for one CUDA device, off on the CPU, where nothing was gained."""
    max_minutes: float | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Stop with a checkpoint after so long, for queues; the same command goes on."""
    save_seconds: float = field(default=60.0, metadata=CHANGES_NO_NUMBER)
    """Save the state after the first step that ends so long after the last saving."""
    keep: int = field(default=3, metadata=CHANGES_NO_NUMBER)
    """States kept, the newest; the best weights by validation are always kept."""
    track: Literal["none", "tensorboard"] = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Write for TensorBoard too (pip install tensorboard); metrics.jsonl is written always."""

    def __post_init__(self) -> None:
        refuse_not_positive(self, "epochs", "batch_size", "lr", "keep", "max_minutes")
        refuse_below(self, 0, "beta", "l1", "max_shift", "save_seconds")
        refuse_bad_seeds(self, "seed")


@dataclass(frozen=True)
class EncodeConfig:
    """Encode a folder of images to latents with a pretrained VAE."""

    data: Path
    """Folder of images, as for pretraining; all splits are encoded."""
    out: Path
    """Run folder for latents.safetensors."""
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
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. Sums differ in their last bits."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "batch_size")


@dataclass(frozen=True)
class CheckConfig:
    """Check a folder of images."""

    data: Path
    """Folder of images, searched recursively; CelebA's own layouts and zip are understood."""
    sample: int = 1_000
    """Images opened for their size, spread evenly over the data set."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "sample")


@dataclass(frozen=True)
class CompareVaesConfig:
    """Compare the VAEs of several runs on held-out images."""

    runs: tuple[Path, ...]
    """Run folders of pretrain_vae, of one image size."""
    data: Path
    """Folder of images; those held out are reconstructed, all are encoded."""
    out: Path
    """Run folder for the table and the picture."""
    columns: int = 10
    """Images pictured."""
    originals: bool = False
    """Show the photographs too; the picture then falls under the licence of the data."""
    device: str = "auto"
    """auto (CUDA if there, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. Sums differ in their last bits."""
    cache: Path = DEFAULT_CACHE
    """Folder for the decoded images."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("--runs must name at least one run folder")
        refuse_below(self, 1, "columns")
