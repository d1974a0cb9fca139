"""The flags of the commands whose work lies in this package, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path

from experiment.flags import refuse_bad_seeds
from experiment.folder import CHANGES_NO_NUMBER


@dataclass(frozen=True)
class TheoryConfig:
    """Draw the figures of the theory: PNG and SVG, each as wide as a column."""

    out: Path
    """Run folder for the figures and the table."""


@dataclass(frozen=True)
class SamplerTheoryConfig:
    """Draw the samplers' theory: PNG and SVG, and the claims as CSV and Markdown."""

    out: Path
    """Run folder for the figures and tables."""


@dataclass(frozen=True)
class DecodeConfig:
    """Draw the grids of decoded faces and heatmaps of a finished comparison anew."""

    run: Path
    """Run folder of compare_strategies."""
    out: Path | None = None
    """Run folder for the grids; without it, one below grids/ in that of the comparison."""
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
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. Sums differ in their last bits."""

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= 16:
            raise ValueError(f"--columns must be from 1 to 16, got {self.columns}")
        refuse_bad_seeds(self, "first", "seed")
