"""From the command line to a command's work; a user's mistake ends in one line and status 2."""

import contextlib
import difflib
import io
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import NoReturn, TypeVar, get_args, get_origin, get_type_hints

import tyro

from experiment.flags import flag
from experiment.folder import only_writer
from experiment.terminal import printing
from experiment.threads import spin_shortly, use_threads
from experiment.write import recorded_name
from scripts import NOTICE
from scripts.commands import COMMANDS, config_of
from scripts.interrupts import INTERRUPTIONS, begin

Config = TypeVar("Config")
# Messages of torch (CPU and CUDA) and NumPy for lack of memory without MemoryError.
_OUT_OF_MEMORY = (
    "allocate memory",
    "out of memory",
    "Storage size calculation overflowed",
    "array is too big",
    "Maximum allowed dimension exceeded",
)

# What the system's loader says where memory for the code of a library is lacking.
_NO_ROOM_FOR_CODE = ("failed to map segment", "cannot allocate memory")

_LIKE_A_SLIP = 0.85  # difflib's ratio of words a letter or two apart, as in --step-per-merge

# What tyro and Python say of text that is no number; the text follows in quotes.
_NO_NUMBER = (
    r"(?:could be instantiated from|Could not find valid parse for arguments:|"
    r"could not convert string to float:|invalid literal for int\(\) with base 10:) (.*)"
)

# Flags of version 0.1.0 that are commands now.
MOVED = {
    "mergelab sample_faces --compare": (
        "--compare is a command now: mergelab compare_samplers --latents ... --out ..."
    ),
}


def main(config: type[Config], job: Callable[[Config], None], description: str | None) -> None:
    """Parse ``sys.argv`` into ``config`` and run ``job``.

    A user's mistake (a bad flag, file or value) ends with one line on stderr and status 2, an
    interruption with status 130. Both keep what was computed.
    """
    asked = None
    begin()
    spin_shortly()
    try:
        with printing():
            asked = _parse(config, description)
            _refuse_odd_paths(asked)
            use_threads(getattr(asked, "threads", None))
            if NOTICE:
                print(NOTICE, file=sys.stderr)
            with _only_writer(asked):
                job(asked)
    except (KeyboardInterrupt, Exception) as error:
        try:
            if INTERRUPTIONS or isinstance(error, KeyboardInterrupt):
                _take_leave()
            _refuse_mistake(error, asked)
        except KeyboardInterrupt:  # it came while a mistake was put into words
            _take_leave()
        raise


def _take_leave() -> NoReturn:
    print("interrupted; the same command resumes the run", file=sys.stderr)
    raise SystemExit(130) from None


def _refuse_mistake(error: BaseException, asked: object) -> None:
    """End with one line if the error is a user's mistake or a lack of memory."""
    lacking = isinstance(error, MemoryError) or any(part in str(error) for part in _OUT_OF_MEMORY)
    if lacking and asked is not None:
        most = _largest_number(asked)
        _refuse(f"not enough memory ({_one_line(error)}); ask for less than {most}", error)
    if isinstance(error, ImportError) and any(part in str(error) for part in _NO_ROOM_FOR_CODE):
        _refuse(
            f"not enough memory to load a library ({_one_line(error)}); raise the limit on memory "
            "(ulimit -v)",
            error,
        )
    if isinstance(error, ValueError | OSError | FloatingPointError | OverflowError):
        _refuse(_one_line(error), error)


def _refuse(message: str, error: BaseException) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody reads it, or there is no room for it
        print(f"error: {message.removeprefix('error: ')}", file=sys.stderr)
    raise SystemExit(2) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _largest_number(config: object) -> str:
    """The flag with the largest number: the first one to lower if memory runs out."""
    given = {
        name: max(value) if isinstance(value, tuple) and value else value
        for name, value in vars(config).items()
    }
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float)}
    name = max(numbers, key=numbers.__getitem__)
    return f"{flag(name)} {numbers[name]:g}"


def _refuse_odd_paths(config: object) -> None:
    """Refuse pipes and devices, which are read once and may never end, and a ~ that is left.

    Raises:
        ValueError: with the flag and what it names.
    """
    for name, value in vars(config).items():
        for given in value if isinstance(value, tuple) else (value,):
            # The file of a schedule is text, because it may be a name.
            if not (isinstance(given, Path) or name == "schedule"):
                continue
            if str(given).startswith("~") and not os.path.lexists(given):
                raise ValueError(
                    f"{flag(name)} {given}: the shell has not replaced ~ by the home folder; leave "
                    "a space after the flag, without quotes, or write $HOME"
                )
            with contextlib.suppress(OSError):  # what is missing is told when it is read
                mode = os.stat(given).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise ValueError(
                        f"{flag(name)} {given}: a pipe or a device, not a file or a folder; give a "
                        "regular one"
                    )


def _only_writer(config: object) -> AbstractContextManager[None]:
    """Lock the run folder of this command, if it has one."""
    out = getattr(config, "out", None)
    # Only the first of the processes that torchrun starts writes.
    if out is None or os.environ.get("RANK", "0") != "0":
        return contextlib.nullcontext()
    return only_writer(out)


def _parse(config: type[Config], description: str | None) -> Config:
    program = f"mergelab {Path(sys.argv[0]).stem}"
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, unknown = tyro.cli(
                config,
                prog=program,
                description=description,
                args=present_spelling(config, sys.argv[1:]),
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise ValueError(f"{_complaint(complaint.getvalue(), config)}; see --help") from stop
    if unknown:
        moved = MOVED.get(f"{program} {unknown[0]}")
        raise ValueError(moved or _unknown_argument(config, Path(sys.argv[0]).stem, unknown[0]))
    return parsed


def present_spelling(config: type, arguments: Sequence[str]) -> list[str]:
    """The command line with former flags and values replaced by the present ones.

    Files still use the former ones; see ``experiment.write.recorded_as``.
    """
    renamed = [item for item in fields(config) if "recorded_as" in item.metadata]
    present_flags = {flag(recorded_name(item)): flag(item.name) for item in renamed}
    present_values = {
        flag(item.name): {old: new for new, old in item.metadata["recorded_values"].items()}
        for item in renamed
    }
    spelt: list[str] = []
    values: dict[str, str] = {}
    for argument in arguments:
        if not argument.startswith("--"):
            spelt.append(values.get(argument, argument))
            continue
        name, equals, value = argument.partition("=")
        name = present_flags.get(name, name)
        values = present_values.get(name, {})  # for the arguments up to the next flag
        spelt.append(name + equals + values.get(value, value))
    return spelt


def _complaint(box: str, config: type) -> str:
    """The text inside the frame that tyro draws, as one line about a flag of ``config``.

    tyro has no public way to get the text without the frame, and every refusal is one line.
    """
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    # On terminals without Unicode, rules are dashes, and there is one below the title too.
    below = itertools.dropwhile(lambda line: not line.strip("-"), lines)
    above = itertools.takewhile(lambda line: line.strip("─-"), below)
    text = " ".join(" ".join(above).split()).rstrip(".")
    if text.startswith("Missing from "):
        return "; ".join(_missing(part) for part in text.split("(required)")[:-1])
    # A user knows flags, not the names of our classes.
    named = re.match(r"Error parsing (--[\w-]+|\w+): (.*)", text)
    if named is None:
        return re.sub(r"Missing value for argument '(.+?)'.*", r"\1 needs a value", text)
    if not named[1].startswith("--"):
        return named[2]
    wanted = _numbers_of(named[1], config)
    got = re.search(_NO_NUMBER, named[2])
    if wanted and got:
        given = " ".join(re.findall(r"'([^']*)'", got[1]))
        return f"{named[1]} takes {wanted}, got {given}"
    return f"{named[1]}: {named[2]}"


def _numbers_of(name: str, config: type) -> str:
    """The numbers that a flag takes, in words; empty where it takes something else."""
    kinds, left, several = set[object](), [get_type_hints(config).get(_field_of(name, config))], ""
    while left:
        kind = left.pop()
        kinds.add(kind)
        left.extend(get_args(kind))
        if get_origin(kind) is tuple:
            count = len(get_args(kind))
            several = (
                ", with spaces between" if Ellipsis in get_args(kind) else f", {count} of them"
            )
    for kind, word in ((float, "number"), (int, "whole number")):
        if kind in kinds:
            return f"{word}s{several}" if several else f"a {word}"
    return ""


def _field_of(name: str, config: type) -> str:
    return next((field.name for field in fields(config) if flag(field.name) == name), "")


def _missing(flag_and_help: str) -> str:
    """A missing flag, with the first sentence of its help, as a refusal.

    tyro describes it as ``--runs [PATH [PATH ...]] Run folders of ...``.
    """
    found = re.search(r"(--[\w-]+) (?:\[\S+ \[\S+ \.\.\.\]\]|\S+) (.*)", flag_and_help)
    if found is None:
        return flag_and_help.strip()
    name, said = found.groups()
    return f"{name} is missing: {said.partition('. ')[0].rstrip('. ')}"


def _unknown_argument(config: type, command: str, found: str) -> str:
    name = found.partition("=")[0]
    if not name.startswith("-"):
        return f"{found} belongs to no flag; values follow the name of their flag"
    known = flags_of(config)
    close = difflib.get_close_matches(name, known, n=1, cutoff=_LIKE_A_SLIP)
    if close:
        return f"unknown argument {name}; did you mean {close[0]}?"
    others = [other for other in COMMANDS if other != command and name in flags_of_command(other)]
    if others:
        said = others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"
        return f"{command} has no {name}; {said} {'does' if len(others) == 1 else 'do'}"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"unknown argument {name}; {hint}"


def flags_of(config: type) -> list[str]:
    """The flags that fill a config, in its order."""
    return [flag(field.name) for field in fields(config)]


def flags_of_command(command: str) -> list[str]:
    """The flags of another command, by importing it."""
    return flags_of(config_of(command))
