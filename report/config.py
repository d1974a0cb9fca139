"""The flags of the commands whose work lies in this package, checked when built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffusion.schedule_choice import ScheduleFlags, refuse_idle_schedule
from experiment.flags import refuse_bad_seeds, refuse_below, refuse_repeats
from experiment.folder import ADDED_LATER, CHANGES_NO_NUMBER


@dataclass(frozen=True)
class TheoryConfig:
    """Draw the figures of the theory as PNG and SVG, each one text column wide."""

    out: Path
    """Run folder for the figures and the table."""


@dataclass(frozen=True)
class SamplerTheoryConfig(ScheduleFlags):
    """Draw the samplers' theory as PNG and SVG, and measure the lecture's claims."""

    out: Path
    """Run folder for the figures and tables."""
    spacing: Literal["t", "log_snr"] = field(default="log_snr", metadata=ADDED_LATER)
    """Noise levels in the figures: uniform in t of the schedule, or uniform in the half log-SNR.
    The claims are measured on the lecture's levels in either case."""

    def __post_init__(self) -> None:
        refuse_idle_schedule(self, self.spacing)


@dataclass(frozen=True)
class DecodeConfig:
    """Draw the face grids and heatmaps of a finished comparison again."""

    run: Path
    """Run folder of compare_strategies."""
    out: Path | None = None
    """Run folder for the grids. Default: a folder below grids/ in the comparison's."""
    vae: Path | None = None
    """The VAE of that run, if it has moved. It is checked to be the same."""
    columns: int = 8
    """Faces per row."""
    first: int = 0
    """Number of the first face in the run's noise bank, 0 or more."""
    seed: int | None = None
    """Seed of the noise bank. Default: the run's."""
    student_steps: tuple[int, ...] | None = field(default=None, metadata=ADDED_LATER)
    """Steps K of the students to draw. Default: every K of the run."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, cuda or cuda:N."""
    threads: int | None = field(default=None, metadata=CHANGES_NO_NUMBER)
    """CPU threads. Default: one per core, or OMP_NUM_THREADS. The count changes rounding only."""

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= 16:
            raise ValueError(f"--columns must be from 1 to 16, got {self.columns}")
        refuse_bad_seeds(self, "first", "seed")
        if self.student_steps is not None:
            refuse_below(self, 1, "student_steps")
            refuse_repeats(self, "student_steps")


@dataclass(frozen=True)
class CompareRunsConfig:
    """Put runs of one command side by side."""

    runs: tuple[Path, ...]
    """Run folders of one command, two or more: compare_strategies, plan_merges, simulate_students,
    study_convergence, distill_neural, compare_samplers, compare_operators, pretrain_vae or
    train_noise_estimator."""
    out: Path
    """Run folder for the table and the figure."""

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ValueError(f"--runs must name at least two run folders, got {len(self.runs)}")
        refuse_repeats(self, "runs")
