"""Files that are whole or absent: atomic writes, hashes, and checked safetensors."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reading.files import reading, shown

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


def keep_lines(path: Path, count: int) -> None:
    """Drop all but the first ``count`` lines of UTF-8 text.

    Raises:
        OSError, ValueError: it cannot be read, or is no text.
    """
    with reading(path, "a record of this run", "remove it: a new one is begun"):
        text = path.read_text(encoding="utf-8")
    write_text(path, "".join(line + "\n" for line in text.split("\n")[:-1][:count]))


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


def read_checkpoint(path: Path) -> Any:  # noqa: ANN401
    """What ``write_checkpoint`` wrote, or any other file that torch reads, on the CPU.

    It can run no code. To be called within ``reading``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; it is left alone.
    """
    data = path.read_bytes()
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive of pickles makes torch raise nearly anything
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(first) from error


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
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: it is truncated, not safetensors, or of another kind.
    """
    mend = f"expected {kind} here: make or copy it again"
    # The last two are torch's own, of sizes that no tensor has.
    damage = (SafetensorError, TypeError, RuntimeError)
    with (
        reading(path, "a whole safetensors file", mend, also=damage),
        safe_open(path, framework="pt", device="cpu") as file,
    ):
        metadata = file.metadata() or {}
        # keys() lists the tensors; the handle itself is no mapping.
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("kind") != kind:
        found = shown(metadata["kind"]) if "kind" in metadata else "something unnamed"
        raise ValueError(f"{path}: holds {found}, expected {kind}; give another file")
    return tensors, metadata


def pick(
    tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, shape: Sequence[int | None]
) -> Tensor:
    """A tensor of a file, which must be of that type and shape, and finite.

    Args:
        shape: A size a dimension; None where any will do.

    Raises:
        ValueError: it is missing, or another.
    """
    if name not in tensors:
        raise ValueError(f"lacks {name}")
    found = tensors[name]
    fits = len(found.shape) == len(shape) and all(
        asked in (None, size) for size, asked in zip(found.shape, shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} is {found.dtype} of shape {tuple(found.shape)}, must be {dtype} of ({sizes})"
        )
    if not found.isfinite().all():
        raise ValueError(f"{name} must have finite values")
    return found


def fact(metadata: Mapping[str, str], name: str) -> str:
    """The fact ``name`` of a file, which must be there."""
    if name not in metadata:
        raise ValueError(f"lacks {name}")
    return metadata[name]


def whole_number(metadata: Mapping[str, str], name: str, least: int = 0) -> int:
    """The same as a whole number not below ``least``."""
    text = fact(metadata, name)
    if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
        raise ValueError(f"{name} is {shown(text)}, must be a whole number of at least {least}")
    return int(text)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
