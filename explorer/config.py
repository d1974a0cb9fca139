"""The flags of the command explore, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path

from experiment.flags import refuse_above, refuse_below
from experiment.folder import CHANGES_NO_NUMBER

LAST_PORT = 65_535


@dataclass(frozen=True)
class ExploreConfig:
    """Open the explorer: a page on this machine with plans, faces and finished runs."""

    saves: Path = Path("runs/explorer")
    """Folder for what the page's button Save writes."""
    runs: Path = Path("runs")
    """Folder whose finished runs the page lists."""
    vae: Path | None = None
    """Run folder of pretrain_vae, or a .safetensors file. Without it the embedded model is used,
    and latents from a file of any encoder have no faces."""
    latents: Path | None = None
    """Folder of encode_latents, or a .npy, .npz or .safetensors file of numbers (N, ...) from any
    encoder; correlated ones are rotated, as compare_strategies does it. Without it the moments of
    the embedded model's latents are used."""
    port: int = 5006
    """Port on 127.0.0.1; 0 takes any free port."""
    browser: bool = True
    """Whether to open the page in the system's browser."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        refuse_below(self, 0, "port")
        refuse_above(self, LAST_PORT, "port")
