"""Everything about CUDA that can be checked on one GPU in nine minutes: right, running, and fast.

Every stage is a process of its own, so an error of the device spoils one stage. The stages that
matter most come first, and acceptance.md and acceptance.json are written anew after each. A stage
is not run where less than half of the time is left that it may need.

A machine needs this repository, PyTorch and torchvision, pytest, and the few packages that our code
imports; not tyro, diffusers, distributed or pytorch-msssim.

Run:
    python -m benchmarks.gpu_acceptance --out DIR                 # on a GPU
    python -m benchmarks.gpu_acceptance --out DIR --rehearse      # every stage in small, on the CPU
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODULE = "benchmarks.gpu_stages"
# Stages are forked from a process that has imported torch, and not yet touched a GPU.
FORKSERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["benchmarks.gpu_stages"]
PRELOADED_TO_REHEARSE = [
    "pytest",
    "torch._dynamo",
    "vae.pretrain_vae",
    "distill.compare_strategies",
]
SECONDS = 540.0
MARGIN = 5.0  # seconds kept for the last report
PATIENCE = 2.0  # a stage may take so many times its estimate
WORTHWHILE = 0.5  # it starts in so much of it: numbers found before its end are kept
ERROR_LINES = 12


@dataclass(frozen=True)
class Stage:
    """A part of the acceptance, by the name of its function in ``gpu_stages``."""

    name: str
    seconds: float
    """Estimated duration on an H100. What an earlier stage compiled is not compiled again."""
    question: str


STAGES = (
    Stage("facts", 10, "Which machine is this, and is the installation sound?"),
    Stage("tests", 50, "Do the tests marked gpu pass, without those of compiled code?"),
    Stage("vae_speed", 100, "How fast is VAE training at batch 128, compiled?"),
    Stage("students", 25, "How fast are students' gradient steps, and are they right?"),
    Stage("neural", 20, "How much faster are neural students of all strategies side by side?"),
    Stage("vae_variants", 45, "How fast is VAE training otherwise: eager, float32, streamed?"),
    Stage("compiled_tests", 50, "Do the tests of compiled code pass?"),
    Stage("resume", 40, "Does a stopped and resumed pretraining end like an unstopped one?"),
    Stage("parity", 15, "Does CUDA compute what the CPU computes?"),
    Stage("estimator", 20, "How fast is the noise estimator, and does anything wait?"),
    Stage("vae_larger", 50, "How fast is VAE training at batch 512, and without CUDA graphs?"),
    Stage("several_processes", 30, "Does distributed training find the gradients of one process?"),
    Stage("celeba_epoch", 45, "How long is an epoch of CelebA's size?"),
    Stage("comparison", 35, "How long does a comparison of students take, really trained?"),
)


@dataclass
class Result:
    """The outcome of a stage."""

    stage: str
    status: str = "not run"
    """passed, failed (a gate), error, timed out, or not run."""
    seconds: float = 0.0
    gates: dict[str, bool] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all stages; 0 if every one that was run passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for everything")
    parser.add_argument("--rehearse", action="store_true", help="every stage in small, on the CPU")
    parser.add_argument("--only", nargs="+", choices=[stage.name for stage in STAGES])
    given = parser.parse_args(arguments)
    deadline = time.monotonic() + given.seconds - MARGIN
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "log.txt").unlink(missing_ok=True)
    asked = [stage for stage in STAGES if given.only is None or stage.name in given.only]
    results = [Result(stage.name) for stage in asked]
    FORKSERVER.set_forkserver_preload(PRELOADED + PRELOADED_TO_REHEARSE * given.rehearse)
    with tempfile.TemporaryDirectory() as work:
        for stage, result in zip(asked, results, strict=True):
            left = deadline - time.monotonic()
            needed = 0.0 if given.rehearse else WORTHWHILE * stage.seconds
            if left >= max(needed, 1.0):
                limit = left if given.rehearse else min(left, PATIENCE * stage.seconds)
                run_stage(result, given.out.resolve(), Path(work), limit, given.rehearse)
            write_report(given.out, asked, results, given.rehearse)
            print(f"{result.stage:20} {result.status:10} {result.seconds:6.1f} s", flush=True)
    return int(any(result.status not in ("passed", "not run") for result in results))


def run_stage(result: Result, out: Path, work: Path, limit: float, rehearse: bool) -> None:
    """Run a stage as a process, in place on its result."""
    found, log = work / f"{result.stage}.json", out / "log.txt"
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"\n=== {result.stage}\n")
    begin = log.stat().st_size
    arguments = (MODULE, result.stage, found, out, work, rehearse, log)
    process = FORKSERVER.Process(target=_work, args=arguments)
    started = time.monotonic()
    process.start()
    process.join(limit)
    status = {None: "timed out", 0: "passed"}.get(process.exitcode, "error")
    with contextlib.suppress(ProcessLookupError):  # with the processes that it started
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
    result.seconds = time.monotonic() - started
    if found.exists():  # numbers found before an error or the time limit count too
        kept = json.loads(found.read_text(encoding="utf-8"))
        result.gates, result.numbers = kept["gates"], kept["numbers"]
    if status == "passed" and not all(result.gates.values()):
        status = "failed"
    if status != "passed":
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        result.error = "\n".join(text.splitlines()[-ERROR_LINES:])
    result.status = status


def _work(
    module: str, stage: str, found: Path, out: Path, work: Path, rehearse: bool, log: Path
) -> None:
    """What the process of a stage does: its output goes to the log, its children are its group."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    # What one stage compiles serves the next.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(work / "inductor"))
    importlib.import_module(module).run(stage, found, out, work, rehearse)


def write_report(
    out: Path, stages: Sequence[Stage], results: Sequence[Result], rehearse: bool
) -> None:
    """Write acceptance.json and acceptance.md anew, each as a whole."""
    numbers = json.dumps([asdict(result) for result in results], indent=1)
    for name, text in (
        ("acceptance.json", numbers),
        ("acceptance.md", as_markdown(stages, results, rehearse)),
    ):
        unfinished = out / f".{name}.tmp"
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(out / name)


def as_markdown(stages: Sequence[Stage], results: Sequence[Result], rehearse: bool) -> str:
    """The report for a reader."""
    lines = ["# GPU acceptance", ""]
    if rehearse:
        lines += ["**A rehearsal on the CPU: its numbers say nothing about a GPU.**", ""]
    lines += ["| stage | status | seconds | gates |", "|:---|:---|---:|:---|"]
    for result in results:
        gates = ", ".join(f"{name} {'✓' if met else '✗'}" for name, met in result.gates.items())
        lines.append(f"| {result.stage} | {result.status} | {result.seconds:.0f} | {gates} |")
    for stage, result in zip(stages, results, strict=True):
        lines += ["", f"## {result.stage}", "", stage.question, ""]
        lines += [f"- {name}: {shown(value)}" for name, value in result.numbers.items()]
        if result.error:
            lines += ["", "```text", result.error.replace("```", "'''"), "```"]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A number with four digits, or text in one line."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
