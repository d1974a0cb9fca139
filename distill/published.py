"""Published tables of synthetic experiments, and how far measured cells differ from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.config import SimulateConfig
from distill.simulate_students import SyntheticRow
from experiment.read import finite_text, read_table, reading, short_repr
from planner.strategies import CANONICAL

COLUMNS = ("T", "lambda", "strategy", "mean", "std")
OUR_NAMES = {name: name for name in CANONICAL} | {
    "boot": "sequential_boot",
    "consistency": "sequential_consistency",
}
# (T, lambda, strategy) where [OM] Table 2 differs from its own recursion, which starts from A_1.
# The paper's code very likely started from the operator of another step (ERRATA P-8).
KNOWN_OFF = {
    (32, 1.0, "sequential_consistency"),
    (32, 2.0, "sequential_consistency"),
    (32, 5.0, "sequential_consistency"),
}
HINT = f"--compare takes CSV with the columns {','.join(COLUMNS)}"
# Means agree within the larger of three published standard deviations and 5 %.
MEAN_STDS = 3.0
MEAN_SHARE = 0.05
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
    deviation: float
    """(measured - published mean) / published standard deviation."""
    std_ratio: float
    """Measured / published standard deviation."""
    agrees: bool
    """Whether the means agree, within max(3 published standard deviations, 5 %)."""
    std_agrees: bool
    """Whether the standard deviations agree within a factor 2."""
    known_off: bool
    """Whether the published mean is the one in error."""


def read_published(path: Path) -> list[PublishedCell]:
    """Read a published table: CSV with the columns T,lambda,strategy,mean,std.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: with the line and what is wrong there.
    """
    cells: dict[tuple[int, float, str], PublishedCell] = {}
    with reading(path, "a published table", HINT):
        for line, row in read_table(path, COLUMNS):
            try:
                cell = _cell(row)
            except ValueError as error:
                raise ValueError(f"line {line}: {error}") from error
            key = (cell.num_steps, cell.variance, cell.strategy)
            if key in cells:
                raise ValueError(f"line {line}: a second cell of {', '.join(map(str, key))}")
            cells[key] = cell
    return list(cells.values())


def _cell(row: dict[str, str]) -> PublishedCell:
    name = row["strategy"]
    if name not in OUR_NAMES:
        raise ValueError(f"strategy {short_repr(name)} is none of {', '.join(OUR_NAMES)}")
    cell = PublishedCell(
        num_steps=int(row["T"]),
        variance=finite_text(row["lambda"], "lambda", least=0.0),
        strategy=OUR_NAMES[name],
        mean=finite_text(row["mean"], "mean"),
        std=finite_text(row["std"], "std"),
    )
    if cell.num_steps < 1:
        raise ValueError(f"T must be at least 1, got {row['T']}")
    if not cell.std > 0:
        raise ValueError(f"std must be positive, got {row['std']}")
    return cell


def published_cells_of(config: SimulateConfig) -> list[PublishedCell]:
    """The cells of the table ``config.compare`` that the run will measure; none without a table.

    Raises:
        FileNotFoundError, ValueError: the table is missing, damaged, or has only other cells.
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
    """The measured cells that were published too, in the order of the rows."""
    found = {(cell.num_steps, cell.variance, cell.strategy): cell for cell in published}
    pairs = [(row, found.get((row.num_steps, row.variance, row.strategy))) for row in rows]
    return [_compare(row, cell) for row, cell in pairs if cell is not None]


def _compare(row: SyntheticRow, cell: PublishedCell) -> ComparedCell:
    difference = row.mean - cell.mean
    ratio = row.std / cell.std
    return ComparedCell(
        num_steps=row.num_steps,
        variance=row.variance,
        strategy=row.strategy,
        mean=row.mean,
        std=row.std,
        published_mean=cell.mean,
        published_std=cell.std,
        deviation=difference / cell.std,
        std_ratio=ratio,
        agrees=abs(difference) <= max(MEAN_STDS * cell.std, MEAN_SHARE * abs(cell.mean)),
        std_agrees=1.0 / STD_FACTOR <= ratio <= STD_FACTOR,
        known_off=(row.num_steps, row.variance, row.strategy) in KNOWN_OFF,
    )
