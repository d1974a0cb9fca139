"""The record of a training, ``metrics.jsonl``: one JSON object per row."""

from collections.abc import Iterable
from pathlib import Path

from experiment.read import read_json_lines, reading

METRICS = "metrics.jsonl"


def read_metrics(run: Path, columns: Iterable[str]) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``, one or more, with numbers in these columns at least.

    Raises:
        FileNotFoundError, OSError, ValueError: it is missing, cannot be read, or is damaged.
    """
    path = run / METRICS
    with reading(path, "a whole record of a training", "give the folder of a whole training"):
        rows = read_json_lines(path, drop_cut_off=False)
        if not rows:
            raise ValueError("holds no row")
        for name in columns:
            for line, row in enumerate(rows, start=1):
                if not isinstance(row.get(name), int | float):
                    raise ValueError(f"line {line} has no number {name!r}")
        return rows
