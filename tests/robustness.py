"""The robustness sweep: every command under every fault that a user or a machine brings about.

``python -m tests.robustness`` sweeps and writes docs/robustness.md; the tests do the same and
compare. What a fault must come to:

- a mistake is refused with one line on stderr that names the file or flag, and exit status 2;
- nothing that was there before is changed by a refusal;
- after a refusal, an interruption or a full disk the same command ends with the same numbers as
  one that was left in peace.
"""

import errno
import itertools
import json
import os
import random
import re
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save_file

from experiment.flags import flag as spell
from experiment.folder import only_writer
from scripts.commands import config_of
from tests.commands import (
    COMMANDS,
    Limits,
    Outcome,
    arguments,
    finish,
    make_everything,
    numbers,
    read_by,
    run,
    run_on_small_disk,
    start,
    why_nothing_can_be_mounted,
)
from tests.conftest import draw_image

DOCUMENT = Path(__file__).parents[1] / "docs" / "robustness.md"
INTRODUCTION = """\
# Robustness

Written by `python -m tests.robustness`, which runs every command in small under every fault;
`make test` does the same and compares. Do not edit.

- **refused**: exit status 2, and one line on stderr that names the file or flag; what was there
  before is untouched, and nothing is left behind.
- **resumes**: afterwards the same command ends with the same numbers, bit by bit, as a run without
  a fault, and leaves no temporary file.
- **refused or runs**: the command refuses the value, also for lack of memory, or it works until
  Ctrl-C ends it with one line and exit status 130. It is never killed by the system, and it never
  ignores Ctrl-C.
- **runs**: the command runs to its end, with the same numbers.
- **ends**: the command ends without a message and with the exit status of a tool whose output
  nobody reads any more. Afterwards it **resumes**.
- **told**: to report this fault is the purpose of the command.
- **–**: the fault does not apply to the command.

Each file that a command reads is damaged by itself, and each flag that takes a number is tried by
itself. A user's own table that is cut off between two rows, or within its last number, is still a
valid table, and passes; those that mergelab wrote are known to lack rows. After a finished run an
input is replaced by another valid one. Foreign settings are an ASCII terminal and a matplotlibrc
that asks for LaTeX. A full disk is a file system in memory that is full early, midway and late, or,
where none can be mounted, a limit on the size of files; all files on it are whole. Ctrl-C comes at
random moments. While a run is at work, a second run in its folder is refused.
"""
GROUPS = {
    "What it reads": (
        "missing",
        "folder for file",
        "unreadable",
        "empty",
        "truncated",
        "cut between rows",
        "wrong type",
    ),
    "What changes before it resumes": ("changed input",),
    "Where it is": ("foreign settings", "a reader that leaves"),
    "Latents of any encoder": (
        "one row",
        "equal rows",
        "not finite",
        "too large",
        "whole numbers",
        "no rows",
        "several arrays",
    ),
    "What it is asked": ("flag: wrong type", "flag: huge value"),
    "Where it writes": (
        "output: a file",
        "output: others' files",
        "output: read-only",
        "output: full disk",
    ),
    "While it runs": ("Ctrl-C", "two runs, one folder"),
}
Damage = Callable[[Path], None]
ELSE = b"neither this nor that\n" * 40
HUGE = {int: "1000000000000000000", float: "1e300"}
SMALL_FILES = (3_000, 300, 30_000)  # bytes that a file may have, where no disk can be mounted
PAGE = resource.getpagesize()
PATIENCE = 0.8  # seconds that a command with a huge value is given before Ctrl-C


@dataclass(frozen=True)
class Trial:
    """A fault, what came of it, and what is wrong with that."""

    command: str
    fault: str
    came_to: str
    wrong: str = ""


class Sweep:
    """Every command's trials, on inputs that the commands themselves have made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = folder / "made"
        self.seconds = make_everything(self.made)
        self._numbers = itertools.count()
        self._hungry = threading.Semaphore(2)
        self.no_mount = why_nothing_can_be_mounted(self._room())

    def kinds(self) -> tuple[Callable[[str], Iterator[Trial]], ...]:
        """All kinds of faults; each gives the trials of a command."""
        return (
            self.inputs,
            self.changes,
            self.surroundings,
            self.latents,
            self.flags,
            self.outputs,
            self.interruptions,
            self.company,
        )

    # What it reads.

    def inputs(self, command: str) -> Iterator[Trial]:
        args = COMMANDS[command].split()
        for flag, value in itertools.pairwise(args):
            for inside in read_by(command, flag):
                path = Path(value.format(made=self.made))
                for fault, damage in DAMAGES.items():
                    yield self._with_damage(command, flag, path, inside, fault, damage)
                if (path / inside if inside else path).suffix in TABLES:
                    fault, damage = "cut between rows", _cut_between_rows
                    yield self._with_damage(command, flag, path, inside, fault, damage)
            if read_by(command, flag):
                yield self._not_there(command, flag, Path(value.format(made=self.made)))

    def latents(self, command: str) -> Iterator[Trial]:
        """Arrays of any encoder in place of a folder of encode_latents, damaged and useless."""
        if command not in TAKES_ARRAYS:
            return
        given = str(self.made / "encode_latents")
        # All read them by the same function, so one of them shows what it does with each format.
        suffixes = list(CONTAINERS)[: None if command == "plan_merges" else 1]
        for suffix in suffixes:
            for fault, damage in DAMAGES.items():
                room = self._room()
                path = room / f"mine.{suffix}"
                CONTAINERS[suffix](path, {"codes": ROWS})
                damage(path)
                yield self._with_latents(command, fault, room, given, path)
        for fault, arrays in USELESS.items():
            room = self._room()
            path = room / "mine.npz"
            np.savez(path, **arrays)
            yield self._with_latents(command, fault, room, given, path)

    def _with_latents(self, command: str, fault: str, room: Path, given: str, path: Path) -> Trial:
        args = [str(path) if arg == given else arg for arg in self._args(command, room)]
        outcome = run(command, args, room / "logs", Limits(unprivileged=True))
        came_to, wrong = judge(outcome, [path.name])
        if came_to == "goes on" or _holds_files(room / "out"):
            wrong = wrong or "useless latents are taken, or a refused command leaves files"
        return self._done(room, command, fault, came_to, wrong and f"{path.name}: {wrong}")

    def _not_there(self, command: str, flag: str, path: Path) -> Trial:
        room = self._room()
        args = self._args(command, room)
        given = [str(room / "nowhere") if arg == str(path) else arg for arg in args]
        outcome = run(command, given, room / "logs")
        came_to, wrong = judge(outcome, ["nowhere"])
        return self._done(room, command, "missing", came_to, wrong and f"{flag}: {wrong}")

    def _with_damage(
        self, command: str, flag: str, path: Path, inside: str, fault: str, damage: Damage
    ) -> Trial:
        room = self._room()
        copy = room / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy(path, copy)
        for target in list(copy.glob(inside)) if inside else [copy]:
            damage(target)
        args = [str(copy) if arg == str(path) else arg for arg in self._args(command, room)]
        if "--cache" in args:  # a data set that was decoded before would be read from there
            args[args.index("--cache") + 1] = str(room / "cache")
        outcome = run(command, args, room / "logs", Limits(unprivileged=True))
        came_to, wrong = judge(outcome, [path.name, flag])
        if came_to == "goes on":
            if command == "check_data" and "damaged" in outcome.out:
                came_to = "told"
            elif (flag, fault) == ("--compare", "cut between rows"):
                came_to = "runs"
            else:
                wrong = "a damaged file is taken for a whole one"
        if outcome.status != 0 and _holds_files(room / "out"):
            wrong = wrong or "a refused command leaves files"
        return self._done(room, command, fault, came_to, wrong and f"{flag} {inside}: {wrong}")

    # What changes before it resumes.

    def changes(self, command: str) -> Iterator[Trial]:
        args = COMMANDS[command].split()
        if "{out}" not in args:
            return
        for flag, value in itertools.pairwise(args):
            for inside in read_by(command, flag):
                path = Path(value.format(made=self.made))
                if (command, flag, inside) not in NO_INPUTS:
                    yield self._with_change(command, flag, path, inside)

    def _with_change(self, command: str, flag: str, path: Path, inside: str) -> Trial:
        room = self._room()
        copy = room / path.name
        shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
        args = [str(copy) if arg == str(path) else arg for arg in self._args(command, room)]
        if "--cache" in args:
            args[args.index("--cache") + 1] = str(room / "cache")
        shutil.copytree(self.made / command, room / "out", ignore=shutil.ignore_patterns(".lock"))
        before = _snapshot(room / "out")
        for target in [*copy.glob(inside)][:1] if inside else [copy]:
            CHANGES[target.suffix](target)
        outcome = run(command, args, room / "logs")
        came_to, wrong = judge(outcome, ["another run's results", flag, path.name])
        if came_to == "goes on" or _snapshot(room / "out") != before:
            wrong = wrong or "a run goes on with another input"
        return self._done(room, command, "changed input", came_to, wrong and f"{flag}: {wrong}")

    # Where it is.

    def surroundings(self, command: str) -> Iterator[Trial]:
        room = self._room()
        outcome = run(command, self._args(command, room), room / "logs", Limits(foreign=True))
        _, wrong = judge(outcome, [])
        wrong = wrong or ("" if outcome.status == 0 else outcome.err)
        wrong = wrong or self._unlike_the_first(command, room)
        yield self._done(room, command, "foreign settings", "runs", wrong)
        room = self._room()
        outcome = run(command, self._args(command, room), room / "logs", Limits(reader_left=True))
        wrong = "" if outcome.status in (0, 141) else f"status {outcome.status}: {outcome.err}"
        if outcome.error_lines:
            wrong = wrong or f"is not silent: {outcome.error_lines}"
        if self._patience(command) > 1:
            wrong = wrong or self._differs(command, room)
        yield self._done(room, command, "a reader that leaves", "ends", wrong)

    # What it is asked.

    def flags(self, command: str) -> Iterator[Trial]:
        for name, kind in number_flags(command):
            flag = spell(name)
            for fault, value, patience, names in (
                ("flag: wrong type", "many", None, [flag]),
                # Another flag may be the one that it does not go with.
                ("flag: huge value", HUGE[kind], PATIENCE, ["--"]),
            ):
                room = self._room()
                args = [*self._args(command, room), flag, value]
                with self._hungry:  # each may take some gigabytes before it is refused
                    outcome = run(command, args, room / "logs", seconds=patience)
                came_to, wrong = judge(outcome, names, may_run=patience is not None)
                if fault == "flag: huge value":  # memory and patience decide which
                    came_to = "refused or runs"
                yield self._done(room, command, fault, came_to, wrong and f"{flag}: {wrong}")

    # Where it writes.

    def outputs(self, command: str) -> Iterator[Trial]:
        if "{out}" not in COMMANDS[command]:
            return
        for fault, prepare in PLACES.items():
            room = self._room()
            prepare(room)
            before = _snapshot(room)
            args = self._args(command, room)
            outcome = run(command, args, room / "logs", Limits(unprivileged=True))
            came_to, wrong = judge(outcome, ["out"])
            shutil.rmtree(room / "logs")
            if came_to == "goes on" or _snapshot(room) != before:
                wrong = wrong or "what was there before is changed"
            (room / "out").parent.chmod(0o755)
            yield self._done(room, command, fault, came_to, wrong)
        for place in range(self._patience(command)):
            full = self._on_small_files if self.no_mount else self._on_small_disk
            room, wrong = full(command, place)
            yield self._done(room, command, "output: full disk", "refused, resumes", wrong)

    def _on_small_disk(self, command: str, place: int) -> tuple[Path, str]:
        room = self._room()
        disk = room / "disk"
        args = arguments(command, self.made, disk / "out")
        if (command, place) == ("pretrain_vae", 0):  # others write their caches by the same code
            args[args.index("--cache") + 1] = str(disk / "cache")
        whole = sum(-(-path.stat().st_size // PAGE) for path in _files(self.made / command))
        pages = max(1, (whole // 2, 1, whole - 2)[place])
        logs = (room / "logs", room / "again")
        full, again = run_on_small_disk(command, args, disk, pages, logs, room / "kept")
        _, wrong = judge(full, [os.strerror(errno.ENOSPC)])
        wrong = wrong or ("" if full.status else f"all fits into {pages} pages")
        torn = [path.name for path in _files(room / "kept" / "0") if not _is_whole(path)]
        wrong = wrong or (f"parts of files: {torn}" if torn else "")
        if again.status != 0:
            wrong = wrong or f"with room it ends with {again.status}: {again.err[-500:]}"
        return room, wrong or self._unlike_the_first(command, room / "kept" / "1")

    def _on_small_files(self, command: str, place: int) -> tuple[Path, str]:
        room = self._room()
        limits = Limits(file_bytes=SMALL_FILES[place])
        outcome = run(command, self._args(command, room), room / "logs", limits)
        _, wrong = judge(outcome, ["out", "cache"])
        return room, wrong or self._differs(command, room)

    # While it runs.

    def interruptions(self, command: str) -> Iterator[Trial]:
        moments = random.Random(command)
        for _ in range(self._patience(command)):
            room = self._room()
            seconds = moments.uniform(0, self.seconds[command])
            outcome = run(command, self._args(command, room), room / "logs", seconds=seconds)
            _, wrong = judge(outcome, ["interrupted"], may_run=True)
            wrong = wrong or self._differs(command, room)
            yield self._done(room, command, "Ctrl-C", "resumes", wrong)

    def company(self, command: str) -> Iterator[Trial]:
        if "{out}" not in COMMANDS[command]:
            return
        room = self._room()
        args = self._args(command, room)
        with only_writer(room / "out"):
            outcome = run(command, args, room / "logs")
            came_to, wrong = judge(outcome, ["out: another run is at work"])
        first = start(command, args, room / "first", Limits())
        while first.is_alive() and not (room / "out" / ".lock").exists():
            time.sleep(0.01)
        second = run(command, args, room / "second")
        ended = [finish(first, room / "first"), second]
        if 0 not in {one.status for one in ended}:
            wrong = wrong or f"of two runs none ended well: {ended[0].err}"
        wrong = wrong or self._differs(command, room)
        yield self._done(room, command, "two runs, one folder", came_to, wrong)

    # Help for all.

    def _patience(self, command: str) -> int:
        """How often a fault is tried that takes whole runs: figures take long."""
        return 1 if command.startswith("plot_") else 3

    def _room(self) -> Path:
        number = next(self._numbers)
        return Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{number:04d}-"))

    def _args(self, command: str, room: Path) -> list[str]:
        return arguments(command, self.made, room / "out")

    def _differs(self, command: str, room: Path) -> str:
        """Run to the end; what is then unlike the run that was left in peace."""
        outcome = run(command, self._args(command, room), room / "again")
        if outcome.status != 0:
            return f"the same command again ends with {outcome.status}: {outcome.err[-500:]}"
        return self._unlike_the_first(command, room)

    def _unlike_the_first(self, command: str, room: Path) -> str:
        """What a finished run has unlike the run that was left in peace."""
        if not (room / "out").exists():
            return ""
        found, expected = (dict(numbers(where)) for where in (room / "out", self.made / command))
        apart = [
            name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
        ]
        left = [path.name for path in (room / "out").rglob("*.tmp")]
        return f"other results in {apart}" if apart else f"leaves {left}" if left else ""

    def _done(self, room: Path, command: str, fault: str, came_to: str, wrong: str) -> Trial:
        if not wrong:
            for path in room.rglob("*"):
                path.chmod(0o755)
            shutil.rmtree(room)
        return Trial(command, fault, came_to, wrong and f"{wrong} ({room})")


def judge(outcome: Outcome, names: list[str], may_run: bool = False) -> tuple[str, str]:
    """What an outcome is, and what is wrong with it.

    Args:
        names: The error has to have one of these in it.
        may_run: Whether it may also have run until Ctrl-C.
    """
    if "Traceback" in outcome.err or "Traceback" in outcome.out:
        return "traceback", f"a traceback: {outcome.err[-1500:]}"
    if outcome.status is None:
        return "hangs", "it does not end"
    if outcome.status == 0:
        return "goes on", ""
    if outcome.status == 130 and may_run:
        return "runs", ""
    lines = outcome.error_lines
    if outcome.status != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
        return "unclear", f"status {outcome.status}, {lines}"
    if not any(name in lines[0] for name in names):
        return "unclear", f"names none of {names}: {lines[0]}"
    return "refused", ""


def number_flags(command: str) -> Iterator[tuple[str, type]]:
    """Fields that take numbers, and which."""
    config = config_of(command)
    hints = get_type_hints(config)
    for field in fields(config):
        kinds = {hints[field.name], *get_args(hints[field.name])}
        for kind in (int, float):
            if kind in kinds:
                yield field.name, kind


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _swap(path: Path) -> None:
    """A folder for a file, and a file for a folder."""
    folder = path.is_dir()
    _remove(path)
    path.touch() if folder else path.mkdir()


def _empty(path: Path) -> None:
    folder = path.is_dir()
    _remove(path)
    path.mkdir() if folder else path.touch()


def _cut(path: Path) -> None:
    for file in [path] if path.is_file() else path.iterdir():
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2 + 7])  # half of two equal rows would be a whole one


TABLES = (".csv", ".jsonl", ".txt")


def _cut_between_rows(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _replace(path: Path) -> None:
    for file in [path] if path.is_file() else path.iterdir():
        file.write_bytes(ELSE)


DAMAGES: dict[str, Damage] = {
    "missing": _remove,
    "folder for file": _swap,
    "unreadable": lambda path: path.chmod(0),
    "empty": _empty,
    "truncated": _cut,
    "wrong type": _replace,
}


# Files that are read, and are no input: another value of them changes no number of the run.
NO_INPUTS = {
    ("compare_vaes", "--runs", "config.json"),  # of a training; the weights are the input
    ("compare_vaes", "--runs", "metrics.jsonl"),
    ("decode_grids", "--run", "config.json"),
    ("decode_grids", "--run", "students/*"),  # named by the index, which is the input
    ("decode_grids", "--run", "plans/*"),
    ("export_student", "--run", "config.json"),
    ("export_student", "--run", "students/*"),
    ("export_student", "--run", "plans/*"),
}


def _change_tensors(path: Path) -> None:
    """Another whole file of the same kind: one number is a little larger."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = file.metadata()
    first = next(name for name in sorted(tensors) if tensors[name].dtype.kind == "f")
    tensors[first] = tensors[first] * (1 + 2**-8)
    save_file(tensors, path, facts)


def _change_text(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def _change_last_digit(path: Path) -> None:
    *others, last = re.split(r"(\d)(?=\D*$)", path.read_text(), maxsplit=1)
    others[-1] = str((int(others[-1]) + 1) % 10)
    path.write_text("".join([*others, last]))


def _change_arrays(path: Path) -> None:
    """Every number is a little smaller."""
    if path.suffix == ".npy":
        np.save(path, np.load(path) * (1 - 2**-8))
    else:
        np.savez(path, **{name: array * (1 - 2**-8) for name, array in np.load(path).items()})


def _change_attributes(path: Path) -> None:
    """The last image that lacks the last attribute that any image lacks has it."""
    before, _, after = path.read_text().rpartition("-1")
    path.write_text(f"{before} 1{after}")


def _change_images(path: Path) -> None:
    draw_image(99).save(path / "000001.jpg", quality=95)


CHANGES: dict[str, Damage] = {
    ".safetensors": _change_tensors,
    ".json": _change_text,
    ".csv": _change_last_digit,
    ".txt": _change_attributes,
    ".npy": _change_arrays,
    ".npz": _change_arrays,
    "": _change_images,
}


def _file_in_place(room: Path) -> None:
    (room / "out").write_text("mine")


def _files_of_another(room: Path) -> None:
    (room / "out").mkdir()
    (room / "out" / "thesis.txt").write_text("mine")


def _read_only(room: Path) -> None:
    room.joinpath("logs").mkdir()
    room.chmod(0o555)


TAKES_ARRAYS = ("plan_merges", "compare_strategies", "train_noise_estimator", "distill_neural")
CONTAINERS: dict[str, Callable[[Path, dict[str, np.ndarray]], None]] = {
    "npy": lambda path, arrays: np.save(path, *arrays.values()),
    "npz": lambda path, arrays: np.savez(path, **arrays),
    "safetensors": lambda path, arrays: save_file(arrays, path),
}
ROWS = np.random.default_rng(0).normal(size=(40, 128))
USELESS = {
    "one row": {"codes": ROWS[:1]},
    "equal rows": {"codes": np.ones((40, 128))},
    "not finite": {"codes": np.where(ROWS[7, 5] == ROWS, np.nan, ROWS)},
    "too large": {"codes": ROWS * 1e200},
    "whole numbers": {"codes": np.arange(40 * 128).reshape(40, 128)},
    "no rows": {"codes": ROWS[:0]},
    "several arrays": {"codes": ROWS, "labels": ROWS[:, 0]},
}


PLACES: dict[str, Damage] = {
    "output: a file": _file_in_place,
    "output: others' files": _files_of_another,
    "output: read-only": _read_only,
}


def _snapshot(room: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(room)): path.read_bytes()
        for path in room.rglob("*")
        if path.is_file() and path.name != ".lock" and "logs" not in path.parts
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def _is_whole(path: Path) -> bool:
    """Whether a file is no part of one; a record that is appended to may end within a line."""
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".json":
                json.loads(data)
            case ".png":
                Image.open(path).load()
            case ".safetensors":
                load(data)
            case ".csv" | ".html" | ".md" | ".svg" | ".txt":
                return data.endswith(b"\n")
            case ".pt":
                torch.load(path, map_location="cpu", weights_only=True)
            case ".tmp":
                return False
    except (OSError, ValueError, RuntimeError, SafetensorError):
        return False
    return True


def _holds_files(out: Path) -> bool:
    return out.is_dir() and any(out.iterdir())


def sweep(swept: Sweep) -> list[Trial]:
    """All trials, by command and kind of fault, several at a time."""
    kinds = [(command, kind) for command in COMMANDS for kind in swept.kinds()]
    # Whole runs take longest: they begin first, so that none is left alone at the end.
    longest = sorted(kinds, key=lambda pair: (pair[1] == swept.inputs, -swept.seconds[pair[0]]))
    # Trials wait for each other's files, locks and signals, so more run than there are cores.
    with ThreadPoolExecutor(3 * min(4, os.cpu_count() or 1)) as pool:
        done = {pair: pool.submit(lambda c, kind: list(kind(c)), *pair) for pair in longest}
        return [trial for pair in kinds for trial in done[pair].result()]


def document(trials: Sequence[Trial]) -> str:
    """docs/robustness.md: what every fault came to, a line a command."""
    found: dict[tuple[str, str], set[str]] = {}
    for trial in trials:
        found.setdefault((trial.command, trial.fault), set()).add(trial.came_to)
    parts = [INTRODUCTION]
    for heading, faults in GROUPS.items():
        lines = [["command", *faults], [":---"] * (1 + len(faults))]
        for command in COMMANDS:
            cells = [" or ".join(sorted(found.get((command, fault), ()))) for fault in faults]
            lines.append([f"`{command}`", *(cell or "–" for cell in cells)])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {heading}\n\n{table}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        trials = sweep(Sweep(Path(temporary)))
    for trial in trials:
        if trial.wrong:
            print(trial)
    DOCUMENT.write_text(document(trials), encoding="utf-8")
    print(f"{len(trials)} trials, {sum(bool(trial.wrong) for trial in trials)} wrong: {DOCUMENT}")
