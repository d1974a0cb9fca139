"""The folder of a run: its record, its lock, and where its files are.

Every command writes its flags, inputs and code version to ``config.json``, its results in words to
``summary.md``, its numbers to ``results.csv`` and its pictures to ``figures/``, beside files for
other commands. Only the same command can resume a run.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from experiment.read import field, integer, read_json, reading
from experiment.write import as_recorded, recorded_name, unfinished_name, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance  # exists for type checkers alone

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "pillow")

CONFIG = "config.json"
SUMMARY = "summary.md"
REPORT = "report.html"
RESULTS = "results.csv"
FIGURES = "figures"
LOCK = ".lock"
RUN_AGAIN = "run its command again"  # the remedy for damaged results

# Metadata of a config field that changes no number: a run can be resumed with another value.
CHANGES_NO_NUMBER = {"changes_no_number": True}
# Metadata of a field that earlier versions did not have. At its default it is not recorded, so runs
# of earlier versions can go on.
ADDED_LATER = {"added_later": True}

# Input -> its name in a refusal, where it is not the input's own.
INPUT_NAMES = {"splits": "split of the images (a list such as list_eval_partition.txt)"}


def file_in(given: Path, name: str) -> Path:
    """The file ``name`` in a run folder, or the given file itself."""
    return given / name if given.is_dir() else given


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock ``folder`` until the block ends; create it if it is missing.

    A crash releases the lock, because the operating system holds it for the process. A folder that
    was made here and is still empty at the end is removed again.

    Raises:
        ValueError: another process has locked it, or it is a file.
        OSError: it cannot be created or written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{folder}: another run is at work in it; wait for its end, or give another folder"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{error.filename}: is a file, not a folder; give another one") from error
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written ({error.strerror}); give a folder of your own, on a "
            "disk with room"
        ) from error
    try:
        yield
    finally:
        if made and not any(path.name != LOCK for path in folder.iterdir()):
            (folder / LOCK).unlink()
            with suppress(OSError):  # another command may use a parent folder by now
                for path in made:
                    path.rmdir()
        lock.release()


def open_run(
    out: Path,
    job: str,
    config: "DataclassInstance",
    inputs: dict[str, str],
    device: str,
    facts: dict[str, object] | None = None,
    added_later: Collection[str] = (),
) -> bool:
    """Create the run folder ``out`` and its ``config.json``, or open it to resume its run.

    Args:
        job: Name of the command. A command never resumes the run of another command.
        config: The frozen config dataclass of the command.
        inputs: Name of each input -> its SHA-256.
        device: The device that the command runs on.
        facts: Facts for the record that follow from the flags on this machine.
        added_later: Inputs that earlier versions did not record: their runs can go on.

    Returns:
        Whether the folder already holds this run, complete or not.

    Raises:
        ValueError: the folder holds something else. Nothing in it is changed.
    """
    path = out / CONFIG
    asked = {"job": job, "config": _comparable(config), "inputs": inputs}
    if path.exists():
        found = read_run(out)
        new = {name for name in added_later if name not in found["inputs"]}
        known = {name: value for name, value in inputs.items() if name not in new}
        _refuse_another(path, {key: found.get(key) for key in asked}, asked | {"inputs": known})
        _remove_leftovers(out)
        return True
    if out.exists() and not (out.is_dir() and all(map(_is_of_a_start, out.iterdir()))):
        raise ValueError(f"{out}: holds files of something else; give --out a new folder")
    _remove_leftovers(out)
    record = {"paths": _paths(config), "facts": facts or {}, "provenance": provenance(device)}
    write_json(path, asked | record)
    return False


def add_facts(out: Path, facts: dict[str, object]) -> None:
    """Add facts to the record of a run that show only when it works."""
    found = read_run(out)
    if found["facts"] | facts != found["facts"]:
        write_json(out / CONFIG, found | {"facts": found["facts"] | facts})


def _is_of_a_start(path: Path) -> bool:
    """Whether a file is what a run leaves that was killed before its record was written."""
    return path.name == LOCK or unfinished_name(path) == CONFIG


def record_lines(out: Path) -> None:
    """Record how many lines the finished tables of a run have: see ``refuse_cut_off``."""
    found = read_run(out)
    tables = sorted([*out.glob("*.csv"), *out.glob("*.jsonl")])
    lines = {path.name: _count_lines(path) for path in tables}
    if lines != found.get("lines", {}):
        write_json(out / CONFIG, found | {"lines": lines})


def refuse_cut_off(table: Path) -> None:
    """Refuse a table that has fewer lines than its run recorded; call within ``reading``.

    A table that is cut off between two rows looks like a whole one. Runs that are unfinished, or of
    an earlier version, have recorded nothing, and tables of no run have no record: they pass.

    Raises:
        FileNotFoundError, OSError, ValueError: lines are missing, or the table or the record cannot
            be read.
    """
    if not (table.parent / CONFIG).exists():
        return
    written, found = read_run(table.parent).get("lines", {}).get(table.name, 0), _count_lines(table)
    if found < written:
        raise ValueError(f"cut off: {found} lines are left of {written}")


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _remove_leftovers(out: Path) -> None:
    """Remove temporary files of a run that was killed while it wrote them."""
    for leftover in filter(unfinished_name, out.rglob(".*.tmp")):
        inside = leftover.relative_to(out).parents[:-1]
        # Another command may be at work in a run folder inside this one (decode_grids).
        if not any((out / folder / CONFIG).exists() for folder in inside):
            leftover.unlink()


def _refuse_another(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    flat_found, flat_asked = _flatten(found), _flatten(asked)
    for key in sorted(flat_asked.keys() | flat_found.keys()):
        if flat_found.get(key) != flat_asked.get(key):
            section, _, name = key.partition(".")
            mend = "repeat that run's flags"
            if section == "inputs":
                mend = f"put the former {INPUT_NAMES.get(name, name)} back, which has changed since"
            raise ValueError(
                f"{path.parent}: holds another run's results ({key} is {flat_found.get(key)} "
                f"there, {flat_asked.get(key)} here); give --out a new folder, or {mend}"
            )


def _flatten(nested: dict[str, Any]) -> dict[str, object]:
    """The values of two levels under names joined by a dot. Deeper values stay whole."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _comparable(config: "DataclassInstance") -> dict[str, object]:
    """The fields that can change results, after a round trip through JSON; no paths of files."""
    idle = {recorded_name(item) for item in fields(config) if "changes_no_number" in item.metadata}
    added = {
        recorded_name(item)
        for item in fields(config)
        if "added_later" in item.metadata and getattr(config, item.name) == item.default
    }
    left_out = idle | added | _paths(config).keys()
    retired: dict[str, object] = getattr(config, "RETIRED_FLAGS", {})
    values = retired | as_recorded(config)
    kept = {name: value for name, value in values.items() if name not in left_out}
    comparable: dict[str, object] = json.loads(json.dumps(kept))
    return comparable


def _paths(config: "DataclassInstance") -> dict[str, str | list[str]]:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    one = {name: str(value) for name, value in values.items() if isinstance(value, Path)}
    return one | {
        name: [str(path) for path in value]
        for name, value in values.items()
        if isinstance(value, tuple) and value and all(isinstance(path, Path) for path in value)
    }


def provenance(device: str) -> dict[str, Any]:
    """Command, commit, versions and hardware, for the record."""
    return {
        "command": _command(),
        "git_commit": _git_commit(),
        "versions": {"mergelab": _own_version(), "python": platform.python_version()}
        | {package: metadata.version(package) for package in _PACKAGES},
        "hardware": {
            "device": device,
            "name": _gpu_name(device) if device.startswith("cuda") else _cpu_name(),
            "threads": _num_threads(),
        },
    }


def _command() -> str:
    """The command line, without the path of the interpreter or of the installed command."""
    program, *arguments = sys.orig_argv[1:]
    if Path(program).name == "mergelab":
        return " ".join(["mergelab", *arguments])
    return " ".join([program, *arguments])


def _git_commit() -> str | None:
    """Commit of the running code, "-dirty" if files differ from it; None outside a checkout."""
    try:
        # In an environment inside another project's checkout this file is not tracked.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    run = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def _own_version() -> str:
    """Version of the installed package. The code also runs uninstalled, from its folder."""
    try:
        return metadata.version("mergelab")
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpu_name(device: str) -> str:
    import torch  # imported here because some commands do not need it

    return torch.cuda.get_device_name(device)


def _num_threads() -> int:
    """Threads of PyTorch if the command uses it, else the processors that the command may use."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_name() -> str:
    """Model name of the processor from Linux, else from Python."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_run(out: Path) -> dict[str, Any]:
    """The record that ``open_run`` wrote.

    Raises:
        FileNotFoundError, OSError: the record is missing, or cannot be read.
        ValueError: the record is damaged.
    """
    path = out / CONFIG
    hint = "give the folder of a run, or for a new run a new --out"
    with reading(path, "a whole record of a run", hint):
        found: dict[str, Any] = read_json(path)
        field(found, "job", str)
        for name in ("config", "inputs", "paths", "facts", "provenance"):
            field(found, name, dict)
        made = found["provenance"]
        field(made, "command", str)
        field(made, "git_commit", object if made.get("git_commit") is None else str)
        for name in ("versions", "hardware"):
            field(made, name, dict)
        for name in found["inputs"]:
            field(found["inputs"], name, str)
        if "lines" in found:
            for name in field(found, "lines", dict):
                integer(found["lines"], name)
        return found


def command_line(record: dict[str, Any]) -> str:
    """The command line that repeats the run of a record."""
    command = str(record["provenance"]["command"])
    return command if command.startswith("mergelab ") else f"python {command}"


def _config_in_words(record: dict[str, Any]) -> str:
    """The values of the config; what was not given is left out, or is the embedded model."""
    words = []
    for name, value in record["config"].items():
        if value is None:
            if name not in record["inputs"]:
                continue
            value = "of the embedded model"
        elif isinstance(value, list):
            value = " and ".join(map(str, value))
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        words.append(f"{name.replace('_', ' ')} {str(value).replace('_', ' ')}")
    return ", ".join(words)


def describe_run(out: Path) -> dict[str, str]:
    """The record in ``config.json`` as text for a reader: name -> value."""
    record = read_run(out)
    made = record["provenance"]
    return {
        "command": f"`{command_line(record)}`",
        "config": _config_in_words(record),
        "inputs (SHA-256)": ", ".join(f"{k} {v[:16]}…" for k, v in record["inputs"].items())
        or "none",
        "commit": made["git_commit"] or "not a git checkout",
        "versions": ", ".join(f"{name} {value}" for name, value in made["versions"].items()),
        "hardware": ", ".join(f"{name} {value}" for name, value in made["hardware"].items()),
    }
