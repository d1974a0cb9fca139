"""Published tables of synthetic experiments, and how far measured ones lie from them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.simulate import SyntheticRow
from distill.synthetic_config import SimulateConfig
from planner.strategies import CANONICAL

COLUMNS = ("T", "lambda", "strategy", "mean", "std")
OUR_NAMES = {name: name for name in CANONICAL} | {
    "boot": "sequential_boot",
    "consistency": "sequential_consistency",
}
# [OM] Table 2 here departs from its own recursion, which starts from A_1: its code very likely
# started from the operator of another step (ERRATA P-8). T, lambda, strategy.
KNOWN_OFF = {
    (32, 1.0, "sequential_consistency"),
    (32, 2.0, "sequential_consistency"),
    (32, 5.0, "sequential_consistency"),
}
STDS_APART = 3.0
SHARE_APART = 0.05
STD_FACTOR = 2.0


@dataclass(frozen=True)
class PublishedCell:
    """Mean and standard deviation of the signed error over trials, as printed."""

    num_steps: int
    variance: float
    strategy: str
    mean: float
    std: float


@dataclass(frozen=True)
class ComparedCell:
    """A measured cell beside the published one."""

    num_steps: int
    variance: float
    strategy: str
    mean: float
    std: float
    published_mean: float
    published_std: float
    deviation: float  # measured less published mean, in published standard deviations
    std_ratio: float  # measured over published
    agrees: bool  # means within max(3 published std, 5 %)
    std_agrees: bool  # within a factor 2
    known_off: bool  # the published mean is the one in error


def read_published(path: Path) -> list[PublishedCell]:
    """Read a published table: CSV with the columns T,lambda,strategy,mean,std.

    Raises:
        FileNotFoundError, ValueError: with the line and what is wrong there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--compare {path}: no such file")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"{path}: the first line must be {','.join(COLUMNS)}, "
                f"got {','.join(reader.fieldnames or ())}"
            )
        return [_cell(f"{path}, line {reader.line_num}", row) for row in reader]


def _cell(place: str, row: dict[str, str]) -> PublishedCell:
    name = row["strategy"]
    if name not in OUR_NAMES:
        raise ValueError(f"{place}: strategy {name!r} is none of {', '.join(OUR_NAMES)}")
    try:
        cell = PublishedCell(
            num_steps=int(row["T"]),
            variance=float(row["lambda"]),
            strategy=OUR_NAMES[name],
            mean=float(row["mean"]),
            std=float(row["std"]),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: not a row of numbers ({error})") from error
    if not cell.std > 0:
        raise ValueError(f"{place}: std must be positive, got {row['std']}")
    return cell


def published_cells_of(config: SimulateConfig) -> list[PublishedCell]:
    """The cells of the table ``config.compare`` that the run will measure; none without one.

    Raises:
        FileNotFoundError, ValueError: the table is missing, damaged, or of other cells alone.
    """
    if config.compare is None:
        return []
    cells = [
        cell
        for cell in read_published(config.compare)
        if cell.num_steps in config.num_steps
        and cell.variance in config.variances
        and cell.strategy in config.strategies
    ]
    if not cells:
        raise ValueError(
            f"--compare {config.compare}: holds no T, variance and strategy of this run"
        )
    return cells


def compare_with_published(
    rows: Sequence[SyntheticRow], published: Sequence[PublishedCell]
) -> list[ComparedCell]:
    """The measured cells that have a published one, in the order measured."""
    found = {(cell.num_steps, cell.variance, cell.strategy): cell for cell in published}
    pairs = [(row, found.get((row.num_steps, row.variance, row.strategy))) for row in rows]
    return [_compare(row, cell) for row, cell in pairs if cell is not None]


def _compare(row: SyntheticRow, cell: PublishedCell) -> ComparedCell:
    apart = abs(row.mean - cell.mean)
    ratio = row.std / cell.std
    return ComparedCell(
        num_steps=row.num_steps,
        variance=row.variance,
        strategy=row.strategy,
        mean=row.mean,
        std=row.std,
        published_mean=cell.mean,
        published_std=cell.std,
        deviation=(row.mean - cell.mean) / cell.std,
        std_ratio=ratio,
        agrees=apart <= max(STDS_APART * cell.std, SHARE_APART * abs(cell.mean)),
        std_agrees=1.0 / STD_FACTOR <= ratio <= STD_FACTOR,
        known_off=(row.num_steps, row.variance, row.strategy) in KNOWN_OFF,
    )
