"""All of CelebA through every stage: seconds, peak memory and disk, beside an eighth of it.

CelebA has 202,599 images. Fewer are copied under more names until there are as many, so reading,
decoding, caching and encoding do all their work. Training is cut short by ``--max-minutes``.

Example:
    python -m benchmarks.whole_celeba --faces data/celeba --out runs/whole_celeba
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from experiment.write import write_rows
from report.markdown import markdown_table
from scripts.cli import main
from vae.encode_latents import PARTS

CELEBA = 202_599
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ScaleConfig:
    """What to put through the stages."""

    faces: Path
    """Folder of JPEGs."""
    out: Path
    """Folder for the copies and the runs; some gigabytes."""
    count: int = CELEBA
    """Images."""
    max_minutes: float = 2.0
    """Minutes of training."""


@dataclass(frozen=True)
class StageRow:
    """One stage at one number of images."""

    stage: str
    images: int
    seconds: float
    peak_memory_mb: float
    """Largest resident memory of one process of the stage."""
    disk_mb: float
    """What the stage left on disk."""


def run(config: ScaleConfig) -> None:
    """Put an eighth of the images and then all through the stages, and print both."""
    rows = []
    for count in (config.count // 8, config.count):
        folder = config.out / str(count)
        copy_images(config.faces, folder / "faces", count)
        rows += stages(folder, count, config.max_minutes)
        write_rows(config.out / "results.csv", rows, StageRow)
    few, many = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    lines = [
        [
            large.stage,
            f"{large.seconds:.0f} s",
            f"{large.seconds / small.seconds:.1f}",
            f"{large.peak_memory_mb:,.0f} MB",
            f"{large.peak_memory_mb / small.peak_memory_mb:.1f}",
            f"{large.disk_mb:,.0f} MB",
        ]
        for small, large in zip(few, many, strict=True)
    ]
    header = ["stage", f"{config.count:,} images", "times an eighth", "peak memory"]
    print(markdown_table([*header, "times an eighth", "disk"], lines))


def copy_images(faces: Path, target: Path, count: int) -> None:
    """Fill ``target`` with ``count`` files, the images of ``faces`` again and again."""
    names = sorted(faces.rglob("*.jpg"))
    if not names:
        raise ValueError(f"--faces {faces}: no .jpg files")
    target.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(islice(cycle(names), count), 1):
        copy = target / f"{number:06d}.jpg"
        if not copy.exists():
            shutil.copyfile(source, copy)


def stages(folder: Path, count: int, max_minutes: float) -> list[StageRow]:
    """Run every stage; the rows are in their order."""
    faces, cache = folder / "faces", folder / "cache"
    vae, latents, compared = folder / "vae", folder / "latents", folder / "compare"
    images = ["--data", str(faces), "--cache", str(cache)]
    rows = []

    def add(stage: str, seconds: float, memory: float, made: Path | None) -> None:
        row = StageRow(stage, count, seconds, memory, 0.0 if made is None else size_mb(made))
        rows.append(row)
        print(f"{row.stage}, {row.images:,}: {row.seconds:.1f} s, {row.peak_memory_mb:.0f} MB")

    add("check_data", *timed(["check_data", *images[:2]]), None)
    training = ["--epochs", "2", "--max-minutes", str(max_minutes), "--device", "cpu"]
    add("pretrain_vae, cut short", *timed(["pretrain_vae", *images, *training], vae), cache)
    encode = ["encode_latents", *images, "--device", "cpu"]  # with the embedded model
    add("encode_latents, killed", *killed_after_first_part(encode, latents), latents)
    add("encode_latents, resumed", *timed(encode, latents), latents)
    inputs = ["--latents", str(latents), "--steps-per-merge", "10", "100"]
    compare = ["compare_strategies", *inputs, "--engine", "closed_form"]
    add("compare_strategies", *timed(compare, compared), compared)
    return rows


def timed(arguments: Sequence[str], out: Path | None = None) -> tuple[float, float]:
    """Seconds, and the peak memory in MB, of a command that must succeed."""
    started = time.perf_counter()
    process = start(arguments, out)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise ChildProcessError(f"{' '.join(arguments)}: exit status {status >> 8}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def killed_after_first_part(arguments: Sequence[str], out: Path) -> tuple[float, float]:
    """The same for a command that is killed as soon as it has kept a part, or ends before."""
    started = time.perf_counter()
    process = start(arguments, out)
    ended = False
    while not ended:
        time.sleep(POLL_SECONDS)
        if list((out / PARTS).glob("*.safetensors")):
            os.kill(process.pid, signal.SIGKILL)  # send_signal would reap it, and lose its usage
        pid, _, usage = os.wait4(process.pid, os.WNOHANG)
        ended = pid != 0
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def start(arguments: Sequence[str], out: Path | None) -> subprocess.Popen[bytes]:
    """Start a command of mergelab, its output beside this one's."""
    given = [] if out is None else ["--out", str(out)]
    return subprocess.Popen([sys.executable, "-m", "mergelab", *arguments, *given])


def size_mb(path: Path) -> float:
    """Size of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main(ScaleConfig, run, __doc__)
