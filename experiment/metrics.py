"""The record of a training, ``metrics.jsonl``: one JSON object per row."""

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from experiment.folder import refuse_cut_off
from experiment.read import integer, read_json_lines, reading
from experiment.write import write_text

METRICS = "metrics.jsonl"


def read_metrics(run: Path, columns: Iterable[str]) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``, one or more, with numbers in these columns at least.

    Raises:
        FileNotFoundError, OSError, ValueError: it is missing, cannot be read, or is damaged.
    """
    path = run / METRICS
    with reading(path, "a whole record of a training", "give the folder of a whole training"):
        rows = read_json_lines(path, drop_cut_off=False)
        refuse_cut_off(path)
        if not rows:
            raise ValueError("holds no row")
        for name in columns:
            for line, row in enumerate(rows, start=1):
                if not isinstance(row.get(name), int | float):
                    raise ValueError(f"line {line} has no number {name!r}")
        return rows


def keep_rows(path: Path, counter: str, last: int) -> None:
    """Cut a record back to what was saved: rows whose ``counter`` is at most ``last``.

    A last row that was cut off is dropped too. A record that does not exist stays absent.

    Raises:
        OSError, ValueError: it cannot be read, is damaged, or ends before what was saved.
    """
    if not path.exists():
        return
    with reading(path, "a record of this run", "remove it: a new one is begun"):
        rows = read_json_lines(path, drop_cut_off=True)
        counts = [integer(row, counter) for row in rows]
        for line, (before, after) in enumerate(pairwise(counts), start=2):
            if after <= before:
                raise ValueError(f"line {line}: {counter} {after} follows {before}")
        if last > 0 and (not counts or counts[-1] < last):
            ends = f"ends with {counter} {counts[-1]}" if counts else "holds no row"
            raise ValueError(f"{ends}, and the training was saved at {last}")
        kept = [row for row, count in zip(rows, counts, strict=True) if count <= last]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def diverged(where: str, values: str) -> FloatingPointError:
    """The error of a training whose loss is no longer finite.

    Args:
        where: The step at which it happened.
        values: What the loss and its parts are there.
    """
    return FloatingPointError(
        f"{where}: {values}; what was saved before is kept: try a smaller --lr in a new --out"
    )
