"""Noise schedules in files: JSON, CSV, .npy, .npz and .safetensors.

A file holds one of ``KINDS``: betas, alphas_cumprod or sigmas, or both alpha and sigma. In JSON,
.npz and .safetensors these are the names of the lists, in CSV those of the columns. A .npy has no
names: its own name has to contain one of the first three, or its two columns are alpha and sigma.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion.schedule import TeacherSchedule, from_alphas_cumprod, from_betas, from_sigmas
from experiment.read import (
    TEXT,
    expect,
    finite_text,
    numbers,
    read_json,
    read_table,
    reading,
    short_repr,
)
from experiment.write import sha256

Array = NDArray[np.float64]

ONE_ROW: dict[str, Callable[[Array], TeacherSchedule]] = {
    "betas": from_betas,
    "alphas_cumprod": from_alphas_cumprod,
    "sigmas": from_sigmas,
}
PAIR = ("alpha", "sigma")
KINDS = (*((name,) for name in ONE_ROW), PAIR)
EXPECTED = (
    "expected betas, alphas_cumprod or sigmas of t = 1, ..., T, or alpha and sigma of t = 0, ..., T"
)
MOST_BYTES = 1 << 28
"""Size of a file above which it is taken for something else: a schedule has some kilobytes."""
PAIR_ROUNDING = 1e-6
"""Alpha and sigma in float32 miss the unit circle by less, and are put back onto it."""
# What NumPy and zipfile raise for damaged files, besides ValueError.
_DAMAGE = (
    *(EOFError, KeyError, MemoryError, NotImplementedError, OverflowError, RuntimeError),
    *(SyntaxError, TypeError, zipfile.BadZipFile, zlib.error),
)


def read_schedule(path: Path) -> TeacherSchedule:
    """The schedule of a file, all of its steps; its name is the fingerprint of the file.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it holds no schedule.
    """
    with reading(path, "a schedule", EXPECTED, also=_DAMAGE):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"has {path.stat().st_size} bytes")
        found = _schedule_of(_READERS.get(path.suffix.lower(), _read_json)(path))
        return replace(found, name=f"file {sha256(path)[:16]}")


def schedule_of_arrays(arrays: Mapping[str, ArrayLike]) -> TeacherSchedule:
    """The schedule of arrays in memory, which have the names that they would have in a file.

    Raises:
        ValueError: they are no schedule.
    """
    try:
        names = _kind(list(arrays))
    except ValueError as error:
        raise ValueError(f"schedule {error}; {EXPECTED}") from error
    found = {name: _floats(np.asarray(arrays[name]), name) for name in names}
    return replace(_schedule_of(found), name="arrays")


def _schedule_of(arrays: dict[str, Array]) -> TeacherSchedule:
    for name, schedule_from in ONE_ROW.items():
        if name in arrays:
            return schedule_from(arrays[name])
    alpha, sigma = (arrays[name] for name in PAIR)
    if alpha.shape == sigma.shape:
        length = np.hypot(alpha, sigma)
        off = np.abs(length - 1.0).max(initial=0.0)
        if 1e-10 < off < PAIR_ROUNDING:
            alpha, sigma = alpha / length, sigma / length
    return TeacherSchedule(alpha, sigma)


def _kind(names: list[str]) -> tuple[str, ...]:
    """The kind whose names are all among ``names``.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [kind for kind in KINDS if set(kind) <= set(names)]
    if not found:
        lacking = set(PAIR) - set(names)
        if len(lacking) == 1:
            raise ValueError(f"lacks {lacking.pop()!r}")
        raise ValueError(f"holds {short_repr(sorted(names))}")
    if len(found) > 1:
        raise ValueError(f"holds {' and '.join(map('/'.join, found))}; keep one of them")
    return found[0]


def _read_json(path: Path) -> dict[str, Array]:
    found = expect(read_json(path), dict, "its content")
    return {name: numbers(found, name) for name in _kind(list(found))}


def _read_csv(path: Path) -> dict[str, Array]:
    with path.open(encoding=TEXT) as file:
        header = file.readline().strip().split(",")
    columns = _kind(header)
    rows = [row for _, row in read_table(path, header)]
    return {
        name: np.array([finite_text(row[name], f"{name}[{i}]") for i, row in enumerate(rows)])
        for name in columns
    }


def _read_npy(path: Path) -> dict[str, Array]:
    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:  # NumPy's own words are a question, or name its options
        raise ValueError("cut off, or no array of numbers") from error
    found = _floats(array, "the array")
    if found.ndim == 2 and found.shape[1] == len(PAIR):
        return dict(zip(PAIR, found.T, strict=True))
    named = [name for name in ONE_ROW if name in path.stem.lower()]
    if len(named) != 1:
        raise ValueError(
            f"shape {found.shape} without a name; call the file betas.npy, alphas_cumprod.npy or "
            "sigmas.npy, or give two columns, alpha and sigma"
        )
    return {named[0]: found}


def _read_npz(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:  # np.load takes a file of another kind for a .npy
        if not zipfile.is_zipfile(file):
            raise ValueError("no zip archive")
    with np.load(path, allow_pickle=False) as archive:
        return {name: _floats(archive[name], name) for name in _kind(archive.files)}


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError, safe_open  # imported where a file needs it

    try:
        with safe_open(path, framework="np") as file:
            names = _kind(list(file.keys()))
            return {name: _floats(file.get_tensor(name), name) for name in names}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _floats(array: NDArray[np.generic], name: str) -> Array:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} has the type {array.dtype}, must be numbers")
    return array.astype(np.float64)


_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".csv": _read_csv,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
