"""The numbers of a comparison as tables, for the summary and for the page."""

from collections.abc import Sequence

from distill.recommend import lowest_of
from distill.results import ResultRow
from planner.budget import WHERE
from report.markdown import Cell, Table
from report.style import label, stage_steps


def overview(rows: Sequence[ResultRow], num_steps: int) -> Table:
    """W2**2 of every strategy and stage, and pixel L2 where there are images.

    Args:
        rows: The rows of one budget."""
    stages = list(dict.fromkeys(row.stage for row in rows))
    found = {(row.strategy, row.stage): row for row in rows}
    header = ["strategy"]
    where = WHERE[rows[0].budget]
    for stage in stages:
        header.append(f"W2², {stage_steps(stage, num_steps):,} steps {where}")
        header += ["pixel L2"] if has_images(rows) else []
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        line = [Cell(label(strategy))]
        for stage in stages:
            row = found.get((strategy, stage))
            beside = [other for other in rows if other.stage == stage]
            measures = [("{:.3e}", "w2_squared"), ("{:.3f}", "pixel_l2")]
            for text, name in measures if has_images(rows) else measures[:1]:
                line.append(Cell("–") if row is None else _cell(text, name, row, beside))
        lines.append(tuple(line))
    return Table(tuple(header), tuple(lines), marks_equals=True)


def has_images(rows: Sequence[ResultRow]) -> bool:
    """Whether images were decoded; without a VAE there are none."""
    return rows[0].pixel_l2 is not None


def split_gains(rows: Sequence[ResultRow], num_steps: int) -> Table | None:
    """W2**2 of every strategy with equal shares of a total and with its best split, by stage.

    None if not both were run.
    """
    found = {(row.strategy, row.stage): row.w2_squared for row in rows}
    pairs = [
        (stage, stage._replace(budget="best_split"))
        for stage in dict.fromkeys(row.stage for row in rows)
        if stage.budget == "total"
    ]
    pairs = [pair for pair in pairs if any(row.stage == pair[1] for row in rows)]
    if not pairs:
        return None
    header = ["strategy"]
    for equal, _ in pairs:
        header += [f"W2², {stage_steps(equal, num_steps):,} steps, equal shares", "best split"]
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        values = [found.get((strategy, stage)) for pair in pairs for stage in pair]
        texts = ["–" if value is None else f"{value:.3e}" for value in values]
        lines.append([label(strategy), *texts])
    return Table.of(header, lines)


DETAILS = (
    ("W2²", "{:.4e}", "w2_squared"),
    ("predicted", "{:.4e}", "w2_squared_predicted"),
    ("spread of runs", "{:.0e}", "w2_squared_spread"),
    ("deviation, rms", "{:.2f}", "rms_deviation"),
    ("W2² to composite", "{:.2e}", "w2_squared_to_composite"),
    ("W2² to √λ", "{:.3e}", "w2_squared_to_data"),
    ("pixel L2", "{:.4f}", "pixel_l2"),
    ("SSIM", "{:.5f}", "ssim"),
    ("merges", "{:,}", "merges"),
    ("gradient steps", "{:,}", "gradient_steps"),
    ("seconds", "{:.2f}", "seconds"),
)
OF_IMAGES = ("pixel_l2", "ssim")
LOWEST_IS_BEST = ("w2_squared", "w2_squared_to_composite", "w2_squared_to_data", "pixel_l2")


def details(stage: Sequence[ResultRow]) -> Table:
    """All numbers of one stage, one line per strategy."""
    columns = [one for one in DETAILS if has_images(stage) or one[2] not in OF_IMAGES]
    header = ("strategy", *(name for name, _, _ in columns), "engine")
    lines = []
    for row in stage:
        cells = []
        for _, text, name in columns:
            cell = _cell(text, name, row, stage)
            if name == "pixel_l2":
                low, high = row.pixel_l2_low, row.pixel_l2_high
                cell = Cell(f"{cell.text} [{low:.3f}, {high:.3f}]", cell.is_best)
            cells.append(cell)
        lines.append((Cell(label(row.strategy)), *cells, Cell(row.engine)))
    return Table(header, tuple(lines), marks_equals=True)


def _cell(text: str, name: str, row: ResultRow, stage: Sequence[ResultRow]) -> Cell:
    """A number as text. It is the best if it ties with the lowest of the stage and not all tie."""
    shown = text.format(getattr(row, name))
    if name not in LOWEST_IS_BEST:
        return Cell(shown)
    lowest = lowest_of(stage, name)
    texts = {text.format(getattr(other, name)) for other in stage if other.strategy in lowest}
    is_lowest = row.strategy in lowest or shown in texts
    return Cell(shown, is_lowest and len(lowest) < len(stage))
