"""Writing files completely or not at all, and hashing them. Imports no torch."""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # exists for type checkers alone

# A byte of a file's name that is not UTF-8 is written as \\udce9: what we write is UTF-8 always.
_NOT_UTF8 = "backslashreplace"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, rename it there.

    After a crash, a full disk or a kill the old file is there, or none, but never a part of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def unfinished_name(path: Path) -> str:
    """The name of the file that a killed process left here unfinished; empty for other files."""
    found = re.fullmatch(r"\.(.+)\.\d+\.tmp", path.name)
    return found[1] if found else ""


def append_line(path: Path, line: str) -> None:
    """Append a line of UTF-8 text and flush it to disk. On a full disk it may be incomplete."""
    try:
        with path.open("a", encoding="utf-8", errors=_NOT_UTF8) as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file and the remedy, which a failed write() does not name."""
    return OSError(
        f"{path}: cannot be written ({error.strerror or error}); earlier files are complete: "
        "free some space, then repeat the command"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, completely or not at all."""
    write_atomically(path, lambda target: target.write_text(text, "utf-8", _NOT_UTF8))


def write_json(path: Path, value: object) -> None:
    """Write indented JSON, completely or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def recorded_as(name: str, **values: str) -> dict[str, Any]:
    """Metadata of a dataclass field that files know by another name.

    Flags, fields and their values may be renamed; the files of earlier versions stay readable.

    Args:
        name: Key in ``config.json``, or column of ``results.csv``.
        values: Value of the field -> value in the file, where they differ.
    """
    return {"recorded_as": name, "recorded_values": values}


def as_recorded(row: "DataclassInstance") -> dict[str, object]:
    """The fields of a flat dataclass under the names, and with the values, that files use."""
    found = {}
    for item in fields(row):
        value = getattr(row, item.name)
        renamed = item.metadata.get("recorded_values", {})
        found[recorded_name(item)] = renamed.get(value, value) if renamed else value
    return found


def recorded_name(item: "Field[Any]") -> str:
    """The name by which files know a dataclass field."""
    return str(item.metadata.get("recorded_as", item.name))


def write_rows(path: Path, rows: Sequence["DataclassInstance"], row_type: type) -> None:
    """Write dataclass rows as CSV, floats in full precision.

    The columns are the fields of ``row_type``, under the names that files use.
    """
    text = io.StringIO()
    columns = [recorded_name(item) for item in fields(row_type)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_recorded(row) for row in rows)
    write_text(path, text.getvalue())


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
