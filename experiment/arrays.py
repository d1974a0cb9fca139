"""One array of a .npy, .npz or .safetensors file, as rows of numbers.

The file is mapped into memory and read where it is used, so that it may be larger than the memory.
Only a .npz is read at once: its members may be compressed. No file can run code.
"""

import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from experiment.read import reading
from experiment.write import sha256

SUFFIXES = (".npy", ".npz", ".safetensors")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What NumPy, zipfile and torch raise for damaged files and impossible sizes, besides ValueError.
_DAMAGE = (
    *(EOFError, MemoryError, RuntimeError, SyntaxError, TypeError, OverflowError, KeyError),
    *(NotImplementedError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)


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
