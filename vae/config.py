"""The flags of the commands in this package, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiment.flags import refuse_bad_seeds, refuse_below, refuse_not_positive
from experiment.folder import ADDED_LATER, CHANGES_NO_NUMBER
from experiment.surroundings import cache_root
from experiment.track import Track, refuse_missing_package

DEFAULT_CACHE = cache_root() / "mergelab"


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain the MS-SSIM VAE on a folder of face images."""

    data: Path
    """Folder of images, searched recursively. CelebA's own layouts and its zip work too."""
    out: Path
    """Run folder. The same command resumes the run."""
    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 128
    """Images per gradient step, summed over all processes."""
    lr: float = 2e-3
    """Peak learning rate. It warms up over 5 % of the steps and follows a cosine down to zero."""
    beta: float = 3e-4
    """Weight of the KL divergence (in nats) relative to 1 - MS-SSIM."""
    l1: float = 0.0
    """Weight of the mean absolute pixel difference. It improves colours."""
    image_size: Literal[32, 48, 64, 96, 128] = 64
    """Side in pixels of the square to which images are cropped and resized."""
    max_shift: int = 2
    """Largest random shift of training images in pixels, against overfitting."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of the convolutions. auto is bf16 where that is fast (CUDA and newer CPUs). The
    loss is always float32."""
    seed: int = 0
    """Seed of initial weights, batches, flips and noise."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""
    cache: Path = DEFAULT_CACHE
    """Folder of the cache of decoded images."""
    images: Literal["auto", "resident", "streamed"] = field(
        default="auto", metadata=CHANGES_NO_NUMBER
    )
    """Training images lie on the device or are streamed from the cache. auto streams large sets."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile. auto: on for CUDA, off on the CPU, where it gains nothing."""
    max_minutes: float | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """Save and stop after this many minutes (for job queues). The same command resumes."""
    save_seconds: float = field(default=60.0, metadata=CHANGES_NO_NUMBER)
    """Seconds between checkpoints. The state is saved after the first gradient step past them."""
    keep: int = field(default=3, metadata=CHANGES_NO_NUMBER)
    """Number of newest checkpoints kept. The best weights by validation are always kept."""
    track: Track = field(default="none", metadata=CHANGES_NO_NUMBER)
    """Also show the training in TensorBoard, or in Weights & Biases, which stays offline unless
    WANDB_MODE says otherwise. Each needs its
    extra: pip install '.[tensorboard]' or '.[wandb]'."""

    def __post_init__(self) -> None:
        refuse_not_positive(self, "epochs", "batch_size", "lr", "keep", "max_minutes")
        refuse_below(self, 0, "beta", "l1", "max_shift", "save_seconds")
        refuse_bad_seeds(self, "seed")
        refuse_missing_package(self.track)


@dataclass(frozen=True)
class EncodeConfig:
    """Encode a folder of images to latents with a pretrained VAE."""

    data: Path
    """Folder of images, as for pretrain_vae. All splits are encoded."""
    out: Path
    """Run folder for latents.safetensors."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file. Default: the embedded model."""
    attributes: Path | None = field(default=None, metadata=ADDED_LATER)
    """CelebA's list_attr_celeba.txt or .csv: also write the direction of every attribute among the
    latents, for sample_faces --attribute."""
    moments_only: bool = False
    """Keep only mean and covariance: a small file without latents of single images."""
    batch_size: int = 512
    """Images encoded at a time. It changes no result."""
    seed: int = 0
    """Only recorded, because posterior means are deterministic."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""
    cache: Path = DEFAULT_CACHE
    """Folder of the cache of decoded images."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "batch_size")


@dataclass(frozen=True)
class CheckConfig:
    """Check a folder of images."""

    data: Path
    """Folder of images, searched recursively. CelebA's own layouts and its zip work too."""
    sample: int = 1_000
    """Number of images that are opened, evenly spread over the data set."""

    def __post_init__(self) -> None:
        refuse_below(self, 1, "sample")


@dataclass(frozen=True)
class CompareVaesConfig:
    """Compare the VAEs of several runs on held-out images."""

    runs: tuple[Path, ...]
    """Run folders of pretrain_vae with the same image size."""
    data: Path
    """Folder of images. Held-out images are reconstructed, all images are encoded."""
    out: Path
    """Run folder for the table and the picture."""
    columns: int = 10
    """Number of images in the picture."""
    originals: bool = False
    """Also show the photographs. The picture is then subject to the licence of the data."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""
    cache: Path = DEFAULT_CACHE
    """Folder of the cache of decoded images."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("--runs must name at least one run folder")
        refuse_below(self, 1, "columns")
