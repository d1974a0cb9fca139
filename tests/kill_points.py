"""Every command killed before each of its file operations, and repeated.

``python -m tests.kill_points [COMMAND ...]`` tries all operations, which takes minutes per command;
a test tries some. The repeated command must end with the numbers and the files of a run that was
left in peace.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.commands import COMMANDS, Limits, arguments, enter, finish, make_everything, numbers, run

OPERATIONS = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
WHERE, COUNT = "where", "count"
KILLED = 9


def faults(name: str, made: Path, work: Path, every: int = 1) -> Iterator[str]:
    """What is wrong after the command was killed at an operation and repeated, if anything.

    Args:
        made: The folder of ``make_everything``.
        work: An empty folder; the run folder and a cache of its own are there.
        every: Only each so many of the operations is tried, beginning with the last.
    """
    out, cache = work / "out", work / "cache"
    shared = str(made / "cache")
    given = [str(cache) if part == shared else part for part in arguments(name, made, out)]
    _start(name, given, work / "whole", (out, cache), 0)
    total = int((work / "whole" / COUNT).read_text())
    whole, files = dict(numbers(out)), _files(out)
    for kill_at in range(total, 0, -every):
        for folder in (out, cache):
            shutil.rmtree(folder, ignore_errors=True)
        log = work / str(kill_at)
        _start(name, given, log, (out, cache), kill_at)
        where = (log / WHERE).read_text()
        again = run(name, given, log / "again")
        if again.status != 0:
            yield f"{name}, killed before {where}: {again.status}, {again.error_lines}"
        elif dict(numbers(out)) != whole:
            yield f"{name}, killed before {where}: other numbers"
        elif _files(out) != files:
            yield f"{name}, killed before {where}: {sorted(_files(out) ^ files)}"


def _files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*")}


def _start(name: str, given: list[str], log: Path, folders: Iterable[Path], kill_at: int) -> None:
    """Run a command that is killed before its operation ``kill_at`` in the folders; 0 counts."""
    log.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm", __name__])
    process = context.Process(target=_enter_killed, args=(name, given, log, list(folders), kill_at))
    process.start()
    if kill_at:
        process.join()
        assert process.exitcode == KILLED
    else:
        outcome = finish(process, log)
        assert outcome.status == 0, outcome.err


def _enter_killed(
    name: str, given: list[str], log: Path, folders: list[Path], kill_at: int
) -> None:
    prefixes = tuple(map(str, folders))
    count = 0

    def watch(event: str, details: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            path, flags = details[0], details[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        elif event in OPERATIONS:
            path, writes = details[0], True
        else:
            return
        if not writes or not isinstance(path, str | bytes | os.PathLike):
            return
        if os.fsdecode(path).startswith(prefixes):
            count += 1
            if count == kill_at:
                (log / WHERE).write_text(f"{event} of {os.fsdecode(path)}")
                os._exit(KILLED)
            if not kill_at:
                (log / COUNT).write_text(str(count))

    sys.addaudithook(watch)
    enter(name, given, log, Limits())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_everything(base / "made")
        found = 0
        for command in sys.argv[1:] or [key for key, given in COMMANDS.items() if "{out}" in given]:
            print(command, flush=True)
            for fault in faults(command, base / "made", base / command):
                found += 1
                print(f"  {fault}", flush=True)
    sys.exit(int(found > 0))
