"""Every command in small, and a way to run it as a process of its own in a fraction of a second.

Processes are forked from a server that has imported everything, so a run costs its work alone.
"""

import contextlib
import ctypes
import errno
import io
import json
import multiprocessing
import os
import re
import resource
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import matplotlib
import numpy as np
from safetensors import safe_open

from diffusion.schedule import cosine_schedule
from scripts import interrupts
from tests.conftest import draw_image

NUM_IMAGES = 40
STARTED = "started"
# Each reads what those before it made; `{made}` is the folder of all, `{out}` the run folder.
COMMANDS = {
    "check_data": "--data {made}/faces",
    "pretrain_vae": (
        "--data {made}/faces --out {out} --epochs 2 --batch-size 16 --image-size 32 "
        "--precision float32 --save-seconds 0 --device cpu --cache {made}/cache"
    ),
    "encode_latents": (
        "--data {made}/faces --vae {made}/pretrain_vae --out {out} --device cpu "
        "--attributes {made}/list_attr_celeba.txt --cache {made}/cache"
    ),
    "compare_vaes": (
        "--data {made}/faces --runs {made}/pretrain_vae --out {out} --columns 2 --device cpu "
        "--cache {made}/cache"
    ),
    "plan_merges": "--latents {made}/encode_latents --schedule {made}/schedule.json --out {out}",
    "compare_strategies": (
        "--vae {made}/pretrain_vae --latents {made}/encode_latents --plan {made}/plans.json "
        "--out {out} --num-steps 3 --steps-per-merge 2 --batch-size 16 --num-images 2 "
        "--engine closed_form --device cpu"
    ),
    "decode_grids": "--run {made}/compare_strategies --out {out} --columns 2 --device cpu",
    "export_student": (
        "--run {made}/compare_strategies --out {out} --strategy vanilla --budget total"
    ),
    "train_noise_estimator": (
        "--latents {made}/encode_latents --out {out} --gradient-steps 6 --batch-size 8 "
        "--num-levels 10 --width 8 --depth 1 --device cpu"
    ),
    "sample_faces": (
        "--estimator {made}/train_noise_estimator --vae {made}/pretrain_vae --out {out} "
        "--steps 2 --count 3 --spacing t --schedule {made}/schedule.json --png {out}/png "
        "--attribute Smiling --attributes {made}/encode_latents "
        "--device cpu"
    ),
    "compare_samplers": (
        "--estimator {made}/train_noise_estimator --vae {made}/pretrain_vae "
        "--latents {made}/encode_latents --out {out} --count 2 --spacing t "
        "--schedule {made}/fine_sigmas.npz --device cpu"
    ),
    "compare_operators": (
        "--estimator {made}/train_noise_estimator --vae {made}/pretrain_vae "
        "--latents {made}/encode_latents --schedule {made}/sigmas.npz --out {out} --num-steps 3 "
        "--device cpu"
    ),
    "simulate_students": (
        "--plan {made}/scalar_plans.json --compare {made}/published.csv --out {out} "
        "--variances 0.5 1.5 --num-steps 4 --steps-per-merge 3 --trials 2 --batch-size 32 "
        "--engine sgd --device cpu"
    ),
    "study_convergence": (
        "--schedule {made}/betas.npy --out {out} --num-steps 4 --steps-per-merge 1 3 --trials 2 "
        "--variances 0.5 --device cpu"
    ),
    "distill_neural": (
        "--distribution latents --latents {made}/encode_latents --vae {made}/pretrain_vae "
        "--estimator {made}/train_noise_estimator --out {out} --num-steps 3 --steps-per-merge 2 "
        "--seeds 2 --batch-size 8 --noises 16 --columns 2 --device cpu"
    ),
    "compare_runs": "--runs {made}/simulate_students {made}/simulated_again --out {out}",
    "plot_theory": "--out {out}",
    "plot_mixture": "--out {out} --num-steps 4 --separations 1 3 --gates 1 2",
    "plot_samplers": "--out {out} --spacing t --schedule {made}/betas.npy",
    "doctor": "--device cpu --cache {made}/cache",
    "write_cli_reference": "--file {made}/cli.md",
}
# What each reads, below the path that its flag gives: "" where that is the file itself. A command
# that reads other files than the rest by the same flag stands before it.
READS = {
    "--data": ("",),
    "--vae": ("vae.safetensors",),
    "--runs": ("vae.safetensors", "config.json", "metrics.jsonl"),
    "--latents": ("latents.safetensors",),
    "--estimator": ("noise_estimator.safetensors",),
    "--run": ("comparison.safetensors", "config.json", "students/*", "plans/*"),
    "--plan": ("",),
    "--schedule": ("",),
    "--compare": ("",),
    "encode_latents --attributes": ("",),
    "sample_faces --attributes": ("attributes.safetensors",),
    "compare_runs --runs": ("config.json", "results.csv"),
}


def read_by(command: str, flag: str) -> tuple[str, ...]:
    """What a command reads below the path that the flag gives."""
    return READS.get(f"{command} {flag}", READS.get(flag, ()))


def arguments(name: str, made: Path, out: Path) -> list[str]:
    """The command line of a command, after its name."""
    return [part.format(made=made, out=out) for part in COMMANDS[name].split()]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int | None  # None: it did not end, and was killed
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """What stderr holds besides progress bars."""
        plain = re.sub(r"\x1b\[[A-Z]", "", self.err)  # how nested bars move the cursor
        pieces = [line.rpartition("\r")[2] for line in plain.splitlines()]
        return [line for line in pieces if line.strip() and "%|" not in line and "?" not in line]


@dataclass(frozen=True)
class Limits:
    """What a process is denied."""

    file_bytes: int | None = None  # size of any file that it writes
    memory_bytes: int = 6 << 30  # beyond what it starts with
    unprivileged: bool = False  # file permissions hold for root too
    foreign: bool = False  # an ASCII terminal, and a matplotlibrc that asks for LaTeX
    reader_left: bool = False  # nobody reads what it prints


def start(name: str, args: list[str], log: Path, limits: Limits) -> BaseProcess:
    """Start a command whose stdout and stderr go to the folder ``log``."""
    log.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm", __name__])
    process = context.Process(target=enter, args=(name, args, log, limits))
    process.start()
    return process


def enter(name: str, args: list[str], log: Path, limits: Limits) -> None:
    """What the process of a command does; see ``start``."""
    # The log is kept apart until the end, as no limit is meant for it.
    sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
    if limits.foreign:
        sys.stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
        matplotlib.rcParams.update({"text.usetex": True, "font.size": 40})
    if limits.reader_left:
        sys.stdout = _NobodyReads()
    sys.argv = [f"{name}.py", *args]
    sys.modules.pop(f"scripts.{name}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    status: int = 0
    # As in a process that imports the commands first; tests.conftest has set Python's handler.
    signal.signal(signal.SIGINT, interrupts._leave)
    try:
        (log / STARTED).touch()
        if limits.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, hard))
        if limits.unprivileged and os.geteuid() == 0:
            _give_up_file_privileges()
        _limit_memory(limits.memory_bytes)
        runpy.run_module(f"scripts.{name}", run_name="__main__")
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is over; what follows is ours
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (log / "out").write_text(out.getvalue(), encoding="utf-8")
    (log / "err").write_text(err.getvalue(), encoding="utf-8")
    # Threads that start processes reap those of others too, and may lose their exit status.
    (log / "status").write_text(str(status), encoding="utf-8")


def run_on_small_disk(
    name: str, args: list[str], disk: Path, pages: int, logs: tuple[Path, Path], kept: Path
) -> tuple[Outcome, Outcome]:
    """Run a command twice on a file system of its own: a full one, and then with room.

    Args:
        disk: Folder that becomes the file system, for this command alone.
        pages: Its size while it is full.
        logs: Folders for what both runs print.
        kept: Folder into which the files are copied, as the two runs left them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm", __name__])
    process = context.Process(
        target=_enter_on_small_disk, args=(name, args, disk, pages, logs, kept)
    )
    process.start()
    process.join(300)
    if process.is_alive():
        process.kill()
        process.join()
    outcomes = []
    for log in logs:
        status = _said(log, "status")
        said = (_said(log, part) for part in ("out", "err"))
        outcomes.append(Outcome(int(status) if status else None, *said))
    return outcomes[0], outcomes[1]


def _enter_on_small_disk(
    name: str, args: list[str], disk: Path, pages: int, logs: tuple[Path, Path], kept: Path
) -> None:
    disk.mkdir()
    mount_small(disk, pages)
    for number, log in enumerate(logs):
        if number:
            _mount(disk, MS_REMOUNT, "size=1g")
        log.mkdir(parents=True)
        child = os.fork()
        if not child:
            try:
                enter(name, args, log, Limits())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        shutil.copytree(disk, kept / str(number))


CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REMOUNT, MS_REC, MS_PRIVATE = 1 << 5, 1 << 14, 1 << 18


def mount_small(folder: Path, pages: int) -> None:
    """Mount a file system in memory that nobody but this process and its children see.

    Raises:
        OSError: the system does not let this process mount anything.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):  # not root: as the root of a user namespace
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(Path("/"), MS_REC | MS_PRIVATE, "")
    _mount(folder, 0, f"size={pages * resource.getpagesize()}")


def _mount(folder: Path, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {folder}")


def why_nothing_can_be_mounted(room: Path) -> str:
    """Why ``run_on_small_disk`` cannot work here; empty where it can.

    Args:
        room: An empty folder.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm", __name__])
    process = context.Process(target=_try_to_mount, args=(room,))
    process.start()
    process.join()
    return _said(room, "reason")


def _try_to_mount(room: Path) -> None:
    (room / "disk").mkdir()
    try:
        mount_small(room / "disk", 1)
    except OSError as error:
        (room / "reason").write_text(f"no file system can be mounted here ({error})")


class _NobodyReads(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def _limit_memory(more_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _give_up_file_privileges() -> None:
    """Stay root, but without the right to pass by the permissions of files (capset(2))."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    for place in (0, 1):  # effective, permitted; bits 1 and 2 are DAC_OVERRIDE, DAC_READ_SEARCH
        data[place] &= ~0b110
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def finish(process: BaseProcess, log: Path, seconds: float | None = None) -> Outcome:
    """Wait for a command's end; ``seconds`` after its start interrupt it as Ctrl-C does."""
    while process.is_alive() and not (log / STARTED).exists():
        time.sleep(0.002)
    process.join(300 if seconds is None else seconds)
    if process.is_alive() and seconds is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        process.join(30)
    if process.is_alive():
        process.kill()
        process.join()
        return Outcome(None, *(_said(log, name) for name in ("out", "err")))
    status = int(_said(log, "status") or process.exitcode)
    return Outcome(status, *(_said(log, name) for name in ("out", "err")))


def _said(log: Path, name: str) -> str:
    path = log / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def run(
    name: str,
    args: list[str],
    log: Path,
    limits: Limits = Limits(),
    seconds: float | None = None,
) -> Outcome:
    """A command from start to end."""
    return finish(start(name, args, log, limits), log, seconds)


def make_everything(made: Path) -> dict[str, float]:
    """Run every command once, each on what those before it made; seconds of each.

    Raises:
        RuntimeError: a command failed.
    """
    (made / "faces").mkdir(parents=True)
    for i in range(NUM_IMAGES):
        draw_image(i).save(made / "faces" / f"{i + 1:06d}.jpg", quality=95)
    has = [f"{i + 1:06d}.jpg  {1 - 2 * (i % 2)} -1" for i in range(NUM_IMAGES)]
    listed = [str(NUM_IMAGES), "Smiling Eyeglasses ", *has]
    (made / "list_attr_celeba.txt").write_text("\n".join(listed) + "\n")
    schedule = cosine_schedule(3)
    values = {"alpha": schedule.alpha.tolist(), "sigma": schedule.sigma.tolist()}
    (made / "schedule.json").write_text(json.dumps(values))
    np.save(made / "betas.npy", np.linspace(0.1, 0.6, 40))
    np.savez(made / "sigmas.npz", sigmas=np.geomspace(0.1, 20.0, 40))
    np.savez(made / "fine_sigmas.npz", sigmas=np.geomspace(0.2, 6.0, 100))
    lines = [f"4,{v:g},vanilla,{m},0.1" for v, m in ((0.5, 0.2), (1.5, -0.1))]
    (made / "published.csv").write_text("\n".join(["T,lambda,strategy,mean,std", *lines]) + "\n")
    scalars = ["--variances", "0.5", "1.5", "--num-steps", "4", "--out"]
    _must("plan_merges", [*scalars, str(made / "scalars")], made)
    os.link(made / "scalars/plans.json", made / "scalar_plans.json")
    seconds = {}
    for name in COMMANDS:
        started = time.monotonic()
        _must(name, arguments(name, made, made / name), made)
        seconds[name] = time.monotonic() - started
        if name == "simulate_students":
            shutil.copytree(made / name, made / "simulated_again")
        if name == "plan_merges":
            os.link(made / name / "plans.json", made / "plans.json")
    return seconds


def _must(name: str, args: list[str], made: Path) -> None:
    outcome = run(name, args, made / "logs" / name)
    if outcome.status != 0:
        raise RuntimeError(f"{name} ended with {outcome.status}: {outcome.err[-2000:]}")


def numbers(run_folder: Path) -> Iterator[tuple[str, bytes]]:
    """What a run folder holds of results that do not depend on how fast it was."""
    for path in sorted(run_folder.rglob("*")):
        name = str(path.relative_to(run_folder))
        if path.suffix == ".safetensors":  # their metadata says how long it took
            with safe_open(path, framework="np") as file:
                for key in file.keys():  # noqa: SIM118  (no mapping)
                    yield f"{name}/{key}", file.get_tensor(key).tobytes()
        elif path.suffix == ".png" or name == "plans.json":
            yield name, path.read_bytes()
