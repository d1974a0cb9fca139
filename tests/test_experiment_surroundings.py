"""Commands in containers, in pipes, on odd terminals and with other people's settings."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

import vae.cache
from experiment.read import read_json
from experiment.surroundings import cache_root, fall_back, writable_home
from experiment.write import append_line, write_text
from tests.conftest import draw_image
from vae.cache import load_images

ROOT = Path(__file__).parents[1]
CODE = shutil.ignore_patterns(".*", "runs", "tests", "__pycache__", "docs", "benchmarks")
SMALL = ["--num-steps", "2", "--steps-per-merge", "2", "--batch-size", "16", "--num-images", "2"]
UNKNOWN = 54_321  # a uid that no system has


def run(*arguments, cwd=ROOT, prefix=(), **environment):
    """A command as a process of its own; None takes a variable from its environment."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} | environment
    return subprocess.run(
        [*prefix, sys.executable, "-m", "scripts", *map(str, arguments)],
        cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        check=False,
        timeout=300,
    )


def as_unknown_user() -> list[str]:
    """A command line before another one that runs it under a uid without a name."""
    if not shutil.which("setpriv") or os.geteuid() != 0:
        pytest.skip("only root can take another uid")
    reads = "+dac_read_search"  # Python itself may lie in a folder of another user
    prefix = ["setpriv", f"--reuid={UNKNOWN}", f"--regid={UNKNOWN}", "--clear-groups"]
    for capabilities in ("inh-caps", "ambient-caps", "bounding-set"):
        prefix.append(f"--{capabilities}=-all,{reads}")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this container lets no process take another uid")
    return prefix


@pytest.fixture
def image() -> Iterator[Path]:
    """The code in a folder ``app`` that cannot be written, beside a writable ``volume``."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to other users
        place = Path(made)
        place.chmod(0o755)
        for name in ("volume", "volume/tmp"):
            (place / name).mkdir()
            (place / name).chmod(0o777)
        shutil.copytree(ROOT, place / "app", ignore=CODE)
        code = (place / "app", *(place / "app").rglob("*"))
        for path in code:
            path.chmod(path.stat().st_mode & ~0o222)
        yield place
        for path in code:
            path.chmod(path.stat().st_mode | 0o200)


def test_in_a_container_the_main_job_runs_without_user_home_or_writable_code(image):
    prefix, read_only_copy, place = as_unknown_user(), image / "app", image / "volume"
    bare = {"HOME": None, "USER": None, "LOGNAME": None, "XDG_CACHE_HOME": None}
    # What is compiled here serves no other test, so it is not optimised.
    quickly = {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_OPT": "0"}
    where = {"TMPDIR": str(place / "tmp"), **quickly, **bare}
    done = run(
        "compare_strategies",
        "--out",
        place / "run",
        "--engine",
        "sgd",
        *SMALL,
        cwd=read_only_copy,
        prefix=prefix,
        **where,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (place / "run" / "results.csv").is_file()
    told = [line for line in done.stderr.decode().splitlines() if "no home folder" in line]
    caches = place / "tmp" / f"mergelab-{UNKNOWN}"
    assert told == [
        f"no home folder can be written, so caches are in {caches}; "
        "set HOME or XDG_CACHE_HOME to keep them"
    ]
    done = run("doctor", "--device", "cpu", cwd=read_only_copy, prefix=prefix, **where)
    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    assert f"user: {UNKNOWN}, unknown to the system" in out
    assert f"home: none can be written, caches are in {caches}" in out
    assert f"numba cache: {caches}" in out


@pytest.mark.parametrize("home", ["/", "/proc", "/nowhere/at/all"])
def test_a_home_that_cannot_be_written_is_as_none(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "told")  # so that they are put back after the test
        monkeypatch.delenv(name)
    assert writable_home() is None
    assert cache_root() == tmp_path / f"mergelab-{os.getuid()}"
    assert str(cache_root()) in fall_back()
    assert os.environ["MPLCONFIGDIR"] == str(cache_root() / "matplotlib")
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "told"))
    assert cache_root() == tmp_path / "told"
    assert fall_back() == ""


@pytest.mark.parametrize("told", ["/proc/none", "/dev/null"])
def test_a_cache_folder_that_cannot_be_made_is_told_once_and_not_by_every_library(
    monkeypatch, tmp_path, told
):
    monkeypatch.setenv("XDG_CACHE_HOME", told)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "told")  # so that they are put back after the test
        monkeypatch.delenv(name)
    assert cache_root() == tmp_path / f"mergelab-{os.getuid()}"
    assert fall_back() == (
        f"{told} cannot be written, so caches are in {cache_root()}; "
        "set HOME or XDG_CACHE_HOME to keep them"
    )
    assert os.environ["MPLCONFIGDIR"] == str(cache_root() / "matplotlib")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_refusal_that_nothing_has_room_for_keeps_its_status():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scripts", "check_data", "--sample", "many"],
            cwd=ROOT,
            stderr=full,
            check=False,
        )
    assert done.returncode == 2


def test_a_temporary_cache_of_another_user_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("experiment.surroundings.writable_home", lambda: None)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "theirs").mkdir()
    planted = tmp_path / f"mergelab-{os.getuid()}"
    planted.symlink_to(tmp_path / "theirs")
    assert cache_root() != planted
    assert cache_root().parent == tmp_path


def test_without_the_compiler_the_planner_finds_the_same_plans(tmp_path):
    flags = "--variances 0.3 1.7 --num-steps 4 --train-time 0.8 --full-search".split()  # noqa: SIM905
    plans = []
    for i, switch in enumerate((None, "1")):
        done = run("plan_merges", "--out", tmp_path / str(i), *flags, NUMBA_DISABLE_JIT=switch)
        assert done.returncode == 0, done.stderr.decode()
        plans.append(read_json(tmp_path / str(i) / "plans.json"))
    assert plans[0] == plans[1]


def test_where_no_cache_can_be_written_the_planner_is_compiled_in_memory(tmp_path):
    code = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
from planner.fronts import _staircase
import numpy as np
print(_staircase(np.array([[1.0], [0.5], [2.0]])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[ True False  True]\n", done.stderr


def test_figures_have_the_style_of_the_project_whatever_the_users_settings(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 40\naxes.facecolor: black\nsavefig.transparent: True\n"
        "backend: TkAgg\nfigure.dpi: 10\n"
    )
    pictures = []
    for place in (foreign, tmp_path):
        flags = ["--variances", "0.5", "--num-steps", "3", "--train-time", "1"]
        done = run("plan_merges", "--out", place / "run", *flags, cwd=place, PYTHONPATH=str(ROOT))
        assert done.returncode == 0, done.stderr.decode()
        figures = sorted((place / "run" / "figures").glob("*.png"))
        assert figures
        pictures.append([path.read_bytes() for path in figures])
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_a_character_gets_a_stand_in_and_files_are_utf8(tmp_path, encoding):
    done = run(
        "plan_merges",
        "--variances",
        "0.5",
        "--num-steps",
        "3",
        "--train-time",
        "1",
        "--out",
        tmp_path / "run",
        PYTHONIOENCODING=encoding,
        LC_ALL="C",
        PYTHONUTF8="0",
    )
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert ("?" in done.stdout.decode(encoding)) or encoding != "ascii"
    said = (tmp_path / "run" / "summary.md").read_bytes().decode("utf-8")
    assert "λ" in said or "²" in said


def test_a_reader_that_leaves_is_no_error(tmp_path):
    for i in range(3):
        draw_image(i, (40, 50)).save(tmp_path / f"{i}.png")
    for arguments, buffering in ((["check_data", "--data", tmp_path], "1"), ([], None)):
        variables = {"PYTHONUNBUFFERED": buffering} if buffering else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_output_to_a_full_disk_is_one_line(tmp_path):
    draw_image(0, (40, 50)).save(tmp_path / "0.png")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scripts", "check_data", "--data", tmp_path],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: cannot be written")
    assert len(done.stderr.splitlines()) == 1


def test_text_with_bytes_that_are_not_utf8_is_written_as_utf8(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / "a", odd)
    append_line(tmp_path / "b", odd)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "caf\\udce9"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "caf\\udce9\n"


def test_a_killed_process_of_a_pool_is_one_line_and_the_same_call_goes_on(
    image_folder, tmp_path, monkeypatch
):
    whole = load_images(image_folder, tmp_path / "whole", 32).fingerprint

    def killed(workers):
        pool = open_pool(workers)
        pool.submit(os.getpid).result()
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        with contextlib.suppress(BrokenProcessPool):
            pool.submit(time.sleep, 5).result()
        return pool

    open_pool = vae.cache._open_pool
    with monkeypatch.context() as patched:
        patched.setattr(vae.cache, "_open_pool", killed)
        with pytest.raises(OSError, match="was killed, probably for lack of memory;"):
            load_images(image_folder, tmp_path / "cache", 32)
    assert load_images(image_folder, tmp_path / "cache", 32).fingerprint == whole


def test_without_semaphores_threads_decode_the_same_pixels(
    image_folder, tmp_path, monkeypatch, capsys
):
    whole = load_images(image_folder, tmp_path / "whole", 32)
    monkeypatch.setattr(vae.cache, "can_start_processes", lambda: False)
    alone = load_images(image_folder, tmp_path / "cache", 32)
    np.testing.assert_array_equal(alone.images, whole.images)
    assert capsys.readouterr().out.startswith("/dev/shm cannot be written")
