"""The robustness sweep, and what it has to come to; ``tests.robustness`` says what it tries."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import commands
from tests.commands import COMMANDS, arguments, run_on_small_disk
from tests.kill_points import faults
from tests.robustness import DOCUMENT, Sweep, Trial, document, sweep

ROOT = Path(__file__).parents[1]
# Memory limits, and permissions that bind root too, are those of Linux.
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="sweeps on Linux")


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def trials(swept) -> list[Trial]:
    return sweep(swept)


@on_linux
@pytest.mark.parametrize("command", [name for name, args in COMMANDS.items() if "{out}" in args])
def test_a_run_folder_always_has_the_same_files(swept, command):
    found = {path.name for path in (swept.made / command).iterdir()}
    assert {"config.json", "summary.md", "figures"} <= found
    assert found & {"results.csv", "metrics.jsonl"}
    assert any(path.suffix == ".png" for path in (swept.made / command / "figures").iterdir())
    assert not any(path.suffix == ".png" for path in (swept.made / command).iterdir())


def test_every_command_that_ends_is_swept():
    assert COMMANDS.keys() == set(commands.COMMANDS) - {"explore"}  # it serves until Ctrl-C


@on_linux
@pytest.mark.parametrize("command", COMMANDS)
def test_no_fault_ends_in_a_traceback_a_lost_result_or_silence(trials, command):
    wrong = [trial for trial in trials if trial.command == command and trial.wrong]
    assert not wrong, "\n".join(map(str, wrong))


@on_linux
def test_the_table_in_docs_is_what_the_sweep_found(trials):
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == document(trials), "run python -m tests.robustness"


@on_linux
def test_a_full_disk_is_told_with_the_file_and_the_same_command_ends_once_there_is_room(
    swept, tmp_path
):
    if swept.no_mount:
        pytest.skip(f"{swept.no_mount}; the sweep limits the size of files instead")
    args = arguments("plan_merges", swept.made, tmp_path / "disk" / "out")
    logs = (tmp_path / "full", tmp_path / "again")
    full, again = run_on_small_disk(
        "plan_merges", args, tmp_path / "disk", 1, logs, tmp_path / "kept"
    )
    assert full.status == 2
    (line,) = full.error_lines
    assert line.startswith(f"error: {tmp_path / 'disk' / 'out'}/")
    assert "cannot be written (No space left on device); earlier files are complete" in line
    assert again.status == 0
    assert (tmp_path / "kept" / "1" / "out" / "plans.json").is_file()


def test_an_interruption_that_falls_into_a_destructor_is_not_lost():
    code = """
import scripts.interrupts, signal, time, weakref
scripts.interrupts.begin()
class Thing: pass
thing = Thing()
weakref.finalize(thing, signal.raise_signal, signal.SIGINT).atexit = False
try:
    del thing
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_an_interruption_while_a_command_still_imports_is_one_line():
    moments = random.Random(0)
    code = """
import runpy, scripts
print("ready", flush=True)
runpy.run_module("scripts.doctor", run_name="__main__")
"""
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 1.5))
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said.startswith("interrupted")
        assert len(said.splitlines()) == 1


@on_linux
@pytest.mark.parametrize("command", ["encode_latents", "plan_merges", "sample_faces"])
def test_a_command_that_is_killed_at_a_file_operation_ends_when_it_is_repeated(
    swept, tmp_path, command
):
    """Every seventeenth operation; ``python -m tests.kill_points`` tries them all."""
    assert not list(faults(command, swept.made, tmp_path, every=17))
