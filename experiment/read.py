"""Reading files: typed values, or one line with the file, the fault and the remedy.

Readers work within ``with reading(path, ...):`` and raise a plain ``ValueError`` for a fault. The
functions below do the same.
"""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
TEXT = "utf-8-sig"  # UTF-8, with or without the byte order mark of spreadsheets
SAFETENSORS = "a safetensors file"
# The first bytes of files that are given in place of others.
_FORMATS = {
    b"\x93NUMPY": "a NumPy file (.npy)",
    b"PK\x03\x04": "a zip, such as a .npz of NumPy or a checkpoint of PyTorch",
    b"\x80\x02": "a pickle, such as an old checkpoint of PyTorch",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x1f\x8b": "a file packed by gzip",
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself",
}
_SHOWN = 60  # characters of a value in a message
_KINDS = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "a string",
}


@contextmanager
def reading(
    path: Path, what: str, hint: str, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Add the name of the file and a remedy to every error while it is read.

    Args:
        what: The expected content, with its article: "a schedule".
        hint: The remedy for a missing or damaged file.
        also: Other exceptions that the parser raises for a damaged file, besides ``ValueError``.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: the file is damaged, or has another content.
    """
    # JSON that is nested too deeply for its parser counts as damaged.
    damage: tuple[type[Exception], ...] = (ValueError, RecursionError, csv.Error, *also)
    try:
        yield
    except FileNotFoundError as error:
        mend = hint.removeprefix("remove it and ")  # nothing is there to remove
        raise FileNotFoundError(f"{path}: no such file; {mend}") from error
    except OSError as error:
        raise OSError(f"{path}: cannot be read ({error_text(error)}); {hint}") from error
    except damage as error:
        if not _is_utf8(path):  # some libraries open no such file
            hint = "rename it, or its folder: the name is not UTF-8"
        raise ValueError(f"{path}: not {what} ({error_text(error)}); {hint}") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def error_text(error: Exception) -> str:
    """The text of an error, as one line."""
    if isinstance(error, UnicodeDecodeError):
        return format_of(error.object[:32]) or f"byte {error.start} is not UTF-8 text"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:300] or "damaged"


def format_of(start: bytes) -> str:
    """The name of a well-known binary format by a file's first bytes; empty for any other."""
    # The length of a header of JSON comes first, and it may begin as another format does.
    if start[4:9] == b"\0\0\0\0{":
        return SAFETENSORS
    return next((name for magic, name in _FORMATS.items() if start.startswith(magic)), "")


def short_repr(value: object) -> str:
    """A value as text for a message, cut to a few words."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_json(path: Path) -> Any:  # noqa: ANN401
    """The value of a JSON file. NaN and infinity, which are not JSON, are refused."""
    return json.loads(path.read_text(encoding=TEXT), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"holds {name}, which is no number")


def read_json_lines(path: Path, drop_cut_off: bool) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object per line.

    Args:
        drop_cut_off: Ignore an incomplete last line instead of refusing it.
    """
    *integer, cut_off = path.read_text(encoding=TEXT).split("\n")
    if cut_off and not drop_cut_off:
        raise ValueError("its last line is cut off")
    found = []
    for number, line in enumerate(integer, start=1):
        try:
            found.append(expect(json.loads(line), dict, "it"))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return found


def read_table(
    path: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with exactly these columns, or any, each with its line number.

    Blank lines are no rows, and spaces beside the commas no part of a value: people leave both.
    """
    with path.open(newline="", encoding=TEXT) as file:
        rows = csv.reader(file, strict=True, skipinitialspace=True)
        header = [name.strip() for name in next(rows, [])]
        columns = header if columns is None else columns
        if header != list(columns):
            raise ValueError(
                f"the first line must be {','.join(columns)}, got {short_repr(','.join(header))}"
            )
        for row in filter(None, rows):
            if len(row) != len(columns):
                raise ValueError(f"line {rows.line_num} has {len(row)} fields of {len(columns)}")
            yield rows.line_num, dict(zip(columns, row, strict=True))


def expect(value: object, kind: type[T], name: str) -> T:
    """The value, checked to be of that JSON type. true is not a number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = _KINDS.get(kind, f"a {kind.__name__.lower()}")  # a tensor
        raise ValueError(f"{name} is {short_repr(value)}, must be {wanted}")
    return value


def field(record: object, name: str, kind: type[T]) -> T:
    """``record[name]``, checked to exist and to be of that JSON type."""
    if not isinstance(record, dict):
        raise ValueError(f"{short_repr(record)} is no object with {name!r}")
    if name not in record:
        raise ValueError(f"lacks {name!r}")
    return expect(record[name], kind, name)


def number(record: object, name: str, least: float = -math.inf) -> float:
    """The finite number ``record[name]``, not below ``least``."""
    return finite(field(record, name, object), name, least)


def integer(record: object, name: str, least: int = 0) -> int:
    """The whole number ``record[name]``, not below ``least``."""
    value = field(record, name, int)
    if value < least:
        raise ValueError(f"{name} is {short_repr(value)}, must be at least {least}")
    return value


def numbers(record: object, name: str) -> NDArray[np.float64]:
    """The list of finite numbers ``record[name]``, (n,)."""
    found = field(record, name, list)
    return np.array([finite(value, f"{name}[{i}]") for i, value in enumerate(found)], np.float64)


def finite(value: object, name: str, least: float = -math.inf) -> float:
    """A JSON number as a finite float not below ``least``."""
    try:
        # JSON integers are unbounded, floats are not.
        found = float(expect(value, float if isinstance(value, float) else int, name))
    except (OverflowError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found >= least):
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(f"{name} is {short_repr(value)}, must be a finite number{bound}")
    return found


def finite_text(text: str, name: str, least: float = -math.inf) -> float:
    """A number in text, as in CSV, as a finite float not below ``least``."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} is {short_repr(text)}, must be a number") from None
    return finite(value, name, least)
