"""Tensors as files: checked safetensors, checkpoints without code, checked weights, own arrays.

An array of the user's, in a .npy, .npz or .safetensors file, is mapped into memory and read where
it is used, so that it may be larger than the memory. Only a .npz is read at once: its members may
be compressed. No file can run code.
"""

import io
import json
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from experiment.read import SAFETENSORS, field, format_of, reading, short_repr
from experiment.write import sha256, write_atomically

SUFFIXES = (".npy", ".npz", ".safetensors")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What NumPy, zipfile and torch raise for damaged files and impossible sizes, besides ValueError.
_DAMAGE = (
    *(EOFError, MemoryError, RuntimeError, SyntaxError, TypeError, OverflowError, KeyError),
    *(NotImplementedError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)


def write_checkpoint(path: Path, content: dict[str, object]) -> None:
    """Write state dicts and plain values for ``read_checkpoint``, completely or not at all."""
    buffer = io.BytesIO()  # torch's own file writer hides the reason of a failure
    torch.save(content, buffer)
    write_atomically(path, lambda target: target.write_bytes(buffer.getbuffer()))


def read_checkpoint(path: Path) -> Any:  # noqa: ANN401
    """The content of ``write_checkpoint``, or of any other file that torch reads, on the CPU.

    The file cannot run code. Call this function within ``reading``.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged. It is not changed.
    """
    data = path.read_bytes()
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # for damaged archives torch raises many kinds of exceptions
        raise ValueError((str(error) or "damaged").splitlines()[0]) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors, completely or not at all. The same content gives the same bytes."""
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    data = _with_sorted_header(data)
    write_atomically(path, lambda target: target.write_bytes(data))


def _with_sorted_header(data: bytes) -> bytes:
    """Sort the metadata: the library writes it in random order, which would change the SHA-256."""
    start = 8 + int.from_bytes(data[:8], "little")  # the header's length, the header, the tensors
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[start:]


def read_tensors(path: Path, kind: str, hint: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file whose metadata says ``kind``.

    Args:
        hint: The remedy for a missing or damaged file.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: it is truncated, not safetensors, or of another kind.
    """
    _refuse_other_formats(path, kind, hint)
    # torch raises the last two for impossible sizes.
    damage = (SafetensorError, TypeError, RuntimeError)
    with (
        reading(path, "a whole safetensors file", hint, also=damage),
        safe_open(path, framework="pt", device="cpu") as file,
    ):
        metadata = file.metadata() or {}
        # keys() lists the tensors; the handle is not a mapping.
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("kind") != kind:
        found = short_repr(metadata["kind"]) if "kind" in metadata else "something unnamed"
        raise ValueError(f"{path}: holds {found}, expected {kind}; give another file")
    return tensors, metadata


def _refuse_other_formats(path: Path, kind: str, hint: str) -> None:
    """Refuse a file of a well-known other format by the name of that format."""
    with reading(path, kind, hint), path.open("rb") as file:
        start = file.read(32)
    name = format_of(start)
    if name not in ("", SAFETENSORS):
        raise ValueError(f"{path}: is {name}, expected safetensors of {kind}; {hint}")


def checked_tensor(
    tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, shape: Sequence[int | None]
) -> Tensor:
    """A tensor of a file, checked to be finite and of that type and shape.

    Args:
        shape: One size per dimension; None allows any size.

    Raises:
        ValueError: the tensor is missing or different.
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


def metadata_value(metadata: Mapping[str, str], name: str) -> str:
    """The metadata entry ``name`` of a file, checked to exist."""
    if name not in metadata:
        raise ValueError(f"lacks {name}")
    return metadata[name]


def metadata_integer(metadata: Mapping[str, str], name: str, least: int = 0) -> int:
    """A metadata entry as an integer not below ``least``."""
    text = metadata_value(metadata, name)
    if not (text.isdecimal() and len(text) < 19 and int(text) >= least):
        raise ValueError(
            f"{name} is {short_repr(text)}, must be a whole number of at least {least}"
        )
    return int(text)


_VARIANCES = {
    "running_var",
    "variances",
    "spread",
}  # buffers that must be >= 0: the network takes their square root


def check_weights(found: object, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Refuse a state dict that does not fit the network with the state dict ``expected``.

    Args:
        expected: Only names, shapes and types count, so the device may be "meta".

    Returns:
        ``found``, converted to the types of the network.

    Raises:
        ValueError: names the first tensor that is missing, unknown, of another shape or type, or
            not finite.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"{short_repr(found)} is not a set of weights")
    for name in [*expected, *found]:
        if name not in found or name not in expected:
            where = "lacks" if name in expected else "has an unknown"
            raise ValueError(f"does not fit the network: {where} {short_repr(name)}")
    return {name: _fitted(name, found[name], tensor) for name, tensor in expected.items()}


def _fitted(name: str, found: object, expected: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.layout != torch.strided or found.is_meta:
        raise ValueError(f"{name} is not a tensor with values")
    if found.shape != expected.shape or found.is_floating_point() != expected.is_floating_point():
        raise ValueError(
            f"does not fit the network: {name} is {found.dtype} of shape {tuple(found.shape)}, "
            f"must be {expected.dtype} of {tuple(expected.shape)}"
        )
    if found.is_complex() or found.is_quantized:
        raise ValueError(f"{name} is {found.dtype}")
    fitted = found.to(expected.dtype)
    if not fitted.isfinite().all():
        raise ValueError(f"{name} must have finite values")
    if name.rpartition(".")[2] in _VARIANCES and (fitted < 0).any():
        raise ValueError(f"{name} must be at least 0")
    return fitted


def check_adam(found: object, parameters: Sequence[Tensor]) -> dict[str, object]:
    """Refuse a state dict that is not of Adam or AdamW for these parameters.

    Returns:
        Only its "state", converted to the types of the parameters.

    Raises:
        ValueError: says what is wrong.
    """
    state = field(found, "state", dict)
    if state and set(state) != set(range(len(parameters))):
        raise ValueError(f"an optimizer of {len(state)} parameters, this one has {len(parameters)}")
    checked = {}
    for i in state:
        expected = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameters[i])
        expected["step"] = torch.empty((), device="meta")
        try:
            checked[i] = check_weights(state[i], expected)
        except ValueError as error:
            raise ValueError(f"optimizer, parameter {i}: {error}") from error
        if (checked[i]["exp_avg_sq"] < 0).any():
            raise ValueError(f"optimizer, parameter {i}: exp_avg_sq must be at least 0")
    return {"state": checked}


def restore_optimizer(optimizer: torch.optim.Optimizer, checked: Mapping[str, object]) -> None:
    """Load a state into an optimizer, in place. Its settings stay those of the flags."""
    settings = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": checked["state"], "param_groups": settings})


def split_name(given: Path) -> tuple[Path, str | None]:
    """The file and the name of its array: FILE.npz:NAME names one, FILE alone does not."""
    head, colon, name = given.name.rpartition(":")
    if colon and name and not given.exists() and Path(head).suffix in SUFFIXES:
        return given.with_name(head), name
    return given, None


def fingerprint(given: Path) -> str:
    """SHA-256 of the file, and the name of the array if one is given."""
    path, name = split_name(given)
    return sha256(path) if name is None else f"{sha256(path)}:{name}"


def read_array(given: Path, hint: str) -> Tensor:
    """The array of a file, of its own type and shape, on the CPU.

    Args:
        given: FILE, or FILE:NAME for one of several arrays.
        hint: The remedy for a missing or damaged file.

    Raises:
        FileNotFoundError, OSError: the file is missing, or cannot be read.
        ValueError: it is damaged, has several arrays of which none is named, or its array is not
            made of floating-point numbers.
    """
    path, name = split_name(given)
    with reading(path, _expected(path), hint, also=_DAMAGE):
        if path.suffix == ".npy":
            if name is not None:
                raise ValueError(f"a .npy file has one array without a name, not {name!r}")
            # Mode "c" copies what is written to, which is nothing here; torch refuses mode "r".
            found = _as_tensor(np.lib.format.open_memmap(path, mode="c"))
        elif path.suffix == ".npz":
            found = _as_tensor(_member(path, name))
        else:
            found = _tensor(path, name)
        _refuse_type(found)
        return found


def read_rows(given: Path, hint: str) -> tuple[Tensor, tuple[int, ...]]:
    """The array as rows (N, d) of its own type on the CPU, and the shape of a row in the file.

    Args:
        given, hint: As in ``read_array``.

    Raises:
        FileNotFoundError, OSError, ValueError: as ``read_array``, or the array has no rows.
    """
    found = read_array(given, hint)
    path, _ = split_name(given)
    with reading(path, _expected(path), hint):
        return rows_of(found)


def _expected(path: Path) -> str:
    kind = path.suffix if path.suffix in SUFFIXES else ".safetensors"
    return f"one array of numbers in a whole {kind} file"


def rows_of(array: ArrayLike | Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """An array in memory as rows (N, d) of its own type on the CPU, and the shape of a row.

    Raises:
        ValueError: it is not made of floating-point rows.
    """
    found = array.detach().cpu() if isinstance(array, Tensor) else _as_tensor(np.asarray(array))
    _refuse_type(found)
    if found.ndim < 2 or found.numel() == 0:
        raise ValueError(
            f"its shape is {tuple(found.shape)}, must be (N, ...): N rows of at least one "
            "coordinate"
        )
    return found.reshape(len(found), -1), tuple(found.shape[1:])


def _refuse_type(found: Tensor) -> None:
    if found.dtype not in DTYPES:
        raise ValueError(
            f"its numbers are {_name(found.dtype)}, must be float16, bfloat16, float32 or float64"
        )


def _member(path: Path, name: str | None) -> NDArray[np.generic]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
    with np.load(path, allow_pickle=False) as archive:
        array: NDArray[np.generic] = archive[_chosen(archive.files, name, path)]
    return array


def _tensor(path: Path, name: str | None) -> Tensor:
    with safe_open(path, framework="pt", device="cpu") as file:
        tensor: Tensor = file.get_tensor(_chosen(list(file.keys()), name, path))
    return tensor


def _chosen(found: list[str], name: str | None, path: Path) -> str:
    if name is None and len(found) == 1:
        return found[0]
    if name in found:
        return name
    if not found:
        raise ValueError("holds no array")
    listed = ", ".join(sorted(found)[:8]) + (", ..." if len(found) > 8 else "")
    lacking = "" if name is None else f"has no {name!r}, "
    raise ValueError(f"{lacking}holds {listed}: name one as {path.name}:NAME")


def _as_tensor(array: NDArray[np.generic]) -> Tensor:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        more = "; NumPy has no bfloat16" if array.dtype.kind == "V" else ""
        raise ValueError(
            f"its numbers are {array.dtype}, must be float16, float32 or float64 (or bfloat16 in "
            f".safetensors){more}"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        # PyTorch warns about read-only arrays, such as memory maps. Nothing writes to this one.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
