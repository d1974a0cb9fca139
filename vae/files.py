"""Files that are whole or absent: atomic writes, hashes, and checked safetensors."""

import csv
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # exists for type checkers alone


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, rename it there.

    A crash, a full disk or a kill leaves the old file, or none, but never half of one.
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


def append_line(path: Path, line: str) -> None:
    """Append a line of UTF-8 text; on a full disk it may be cut off."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file and the mend, neither of which a failed write() tells."""
    return OSError(
        f"{path}: cannot be written ({error.strerror or error}); what was saved before is whole: "
        "make room, then give the same command again"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_checkpoint(path: Path, content: dict[str, object]) -> None:
    """Write state dicts and plain values for ``read_checkpoint``, whole or not at all."""
    buffer = io.BytesIO()  # torch's own file writer hides why it fails
    torch.save(content, buffer)
    write_atomically(path, lambda target: target.write_bytes(buffer.getbuffer()))


def read_checkpoint(path: Path, mend: str, device: torch.device | str = "cpu") -> Any:  # noqa: ANN401
    """What ``write_checkpoint`` wrote, or any other file that torch reads; it can run no code.

    Args:
        mend: What to do about a damaged one.

    Raises:
        ValueError: it is damaged; it is left alone.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = (str(error) or "empty").splitlines()[0]
        raise ValueError(f"{path}: not a whole checkpoint ({reason}); {mend}") from error


def write_json(path: Path, value: object) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Sequence["DataclassInstance"], row_type: type) -> None:
    """Write dataclass rows as CSV under the names of their fields, floats in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(row_type)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors, whole or not at all; the same content gives the same bytes."""
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    data = _with_sorted_header(data)
    write_atomically(path, lambda target: target.write_bytes(data))


def _with_sorted_header(data: bytes) -> bytes:
    """The library writes metadata in random order, which would change the file's SHA-256."""
    start = 8 + int.from_bytes(data[:8], "little")  # the header's length, the header, the tensors
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[start:]


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file whose metadata says ``kind``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is truncated, not safetensors, or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {kind} here")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            # keys() lists the tensors; the handle itself is no mapping.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); make or copy it again"
        ) from error
    if metadata.get("kind") != kind:
        raise ValueError(
            f"{path}: holds {metadata.get('kind', 'something unnamed')}, expected {kind}"
        )
    return tensors, metadata


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
