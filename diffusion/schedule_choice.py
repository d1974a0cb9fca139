"""The schedule that the flags --schedule and --zero-snr ask for: one of a name, or one of a file.

A file (JSON, CSV, .npy, .npz or .safetensors) holds one of ``KINDS``: betas, alphas_cumprod or
sigmas, or both alpha and sigma. In JSON, .npz and .safetensors these are the names of the lists, in
CSV those of the columns. A .npy has no names: its own name has to contain one of the first three,
or its two columns are alpha and sigma.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion.schedule import (
    NoiseSchedule,
    TeacherSchedule,
    cosine_schedule,
    edm_schedule,
    flow_schedule,
    from_alphas_cumprod,
    from_betas,
    from_sigmas,
    linear_beta_schedule,
    scaled_linear_schedule,
    subsampled,
    zero_terminal_snr,
)
from experiment.folder import ADDED_LATER
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

SCHEDULES: dict[str, Callable[[int], TeacherSchedule]] = {
    "cosine": cosine_schedule,
    "linear_beta": linear_beta_schedule,
    "scaled_linear": lambda num_steps: scaled_linear_schedule(),
    "edm": edm_schedule,
    "flow": flow_schedule,
}
"""Name -> T -> the schedule. scaled_linear has 1000 training steps whatever T is."""

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


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """Flags of the commands that have a noise schedule."""

    schedule: str = field(default="cosine", metadata=ADDED_LATER)
    """Noise schedule: cosine, linear_beta, scaled_linear (Stable Diffusion's), edm (Karras' sigmas
    from 80 to 0.002), flow (flow matching), or a JSON, CSV, .npy, .npz or .safetensors file of
    betas, alphas_cumprod, sigmas (x = x_0 + sigma eps), or alpha and sigma. scaled_linear has 1000
    steps. From a schedule with more than T steps, T equally spaced ones are taken, the noisiest
    included."""
    zero_snr: bool = field(default=False, metadata=ADDED_LATER)
    """Rescale the schedule so that alpha_T = 0: it then ends in pure noise."""


def refuse_idle_schedule(flags: ScheduleFlags, spacing: str) -> None:
    """Refuse flags of a schedule whose levels are not asked for.

    Args:
        spacing: Value of --spacing; t asks for the levels of the schedule.

    Raises:
        ValueError: the spacing is another one, so that the schedule would change nothing.
    """
    if spacing != "t" and (flags.schedule != "cosine" or flags.zero_snr):
        raise ValueError(
            f"--schedule and --zero-snr give the levels of --spacing t, not of {spacing}; "
            "give --spacing t too"
        )


def find_schedule(name: str, num_steps: int) -> TeacherSchedule:
    """The training schedule called ``name``, or the one in the file ``name``.

    Args:
        num_steps: T, where the schedule has no number of training steps of its own.

    Raises:
        FileNotFoundError: ``name`` is not in ``SCHEDULES``, and there is no such file.
        ValueError: the file holds no schedule.
    """
    if name in SCHEDULES:
        return SCHEDULES[name](num_steps)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"--schedule {path}: no such file, and none of {', '.join(SCHEDULES)}"
        )
    return read_schedule(path)


def choose_schedule(
    flags: ScheduleFlags, num_steps: int | None, flag: str = "--num-steps"
) -> TeacherSchedule:
    """The schedule of T = ``num_steps`` steps that the flags describe.

    --zero-snr rescales the training schedule, of which T steps are then taken.

    Args:
        num_steps: T; None takes all steps of the file.
        flag: What gives T.

    Raises:
        FileNotFoundError: there is no such schedule.
        ValueError: the file holds no schedule, or the schedule has fewer than T steps.
    """
    found = find_schedule(flags.schedule, num_steps or 1)
    return taken(found, num_steps, flags.zero_snr, flags.schedule, flag)


def taken(
    schedule: TeacherSchedule,
    num_steps: int | None,
    zero_snr: bool,
    called: str,
    flag: str = "--num-steps",
) -> TeacherSchedule:
    """T = ``num_steps`` steps of a training schedule, which is rescaled first if asked for.

    Args:
        num_steps: T; None takes all steps.
        called: What the user calls the schedule.
        flag: What gives T.

    Raises:
        ValueError: the schedule has fewer than T steps.
    """
    found = zero_terminal_snr(schedule) if zero_snr else schedule
    if num_steps is None or num_steps == found.num_steps:
        return found
    if num_steps > found.num_steps:
        raise ValueError(f"{flag} {num_steps}, but {called} has {found.num_steps}; give no more")
    return subsampled(found, num_steps)


def choose_noise_schedule(
    flags: ScheduleFlags, num_steps: int | None, flag: str = "--num-steps"
) -> NoiseSchedule:
    """The same for commands that start from unit noise; the schedule must end in pure noise.

    Raises:
        FileNotFoundError: there is no such schedule.
        ValueError: as ``choose_schedule``, or a signal is left at t = T.
    """
    found = choose_schedule(flags, num_steps, flag)
    if found.alpha[-1] > 0:
        raise ValueError(
            f"--schedule {flags.schedule} keeps the signal alpha_T = {found.alpha[-1]:.3g} at "
            f"t = T, but this command starts from pure noise; give --zero-snr, which rescales the "
            "schedule"
        )
    return NoiseSchedule(found.alpha, found.sigma, found.name)


def schedule_fingerprint(flags: ScheduleFlags) -> dict[str, str]:
    """The schedule's file among the inputs of a run: its SHA-256, or nothing for a name."""
    return {} if flags.schedule in SCHEDULES else {"schedule": sha256(Path(flags.schedule))}


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
        header = [name.strip() for name in file.readline().split(",")]
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
