"""Training images a second against a plain recipe, preprocessing, and a GPU section where one is.

Run:
    python -m benchmarks.bench_vae                         # drawn images, temporary files
    python -m benchmarks.bench_vae --faces data/celeba     # preprocessing of these JPEGs
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.cuda_timing import wait_for
from benchmarks.padded_ms_ssim import padded_ms_ssim
from experiment.device import keep_freed_memory
from experiment.metrics import METRICS
from vae.batches import batch_source
from vae.cache import load_images
from vae.config import PretrainConfig
from vae.images import find_images
from vae.loss import kl_to_standard_normal
from vae.model import VAE
from vae.parallel import World
from vae.pretrain_vae import pretrain_vae
from vae.train import (
    compile_loss,
    convolves_in_bf16,
    epoch_batches,
    loss_of_batch,
    start_or_resume,
    train_steps,
    wants_compilation,
)

BATCH_SIZE = 128
EPOCH_OF_CELEBA = 162_770
PREPROCESSED = 20_000  # JPEGs


@dataclass(frozen=True)
class Speed:
    """Speed of the median step on a CPU or the mean step on CUDA, without the first steps."""

    images_per_second: float
    processor_seconds: float  # a step, over all threads: little moved by other load


class Clock:
    """Times between two ticks, by the wall and by this process's processor time.

    On CUDA the steps are timed together, between two waits for the device: in training the host
    runs ahead of it, and a wait per step would add its time to the device's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._left_out = 10 if device.type == "cuda" else 2
        self._last = self._now()
        self._steps: list[tuple[float, float]] = []

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def tick(self) -> int:
        """End a step; returns how many have ended."""
        if self._device.type == "cuda" and len(self._steps) + 1 == self._left_out:
            wait_for(self._device)
        now = self._now()
        self._steps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now
        return len(self._steps)

    def speed(self) -> Speed:
        wall, processor = zip(*self._steps[self._left_out :], strict=True)
        if self._device.type == "cpu":
            return Speed(BATCH_SIZE / statistics.median(wall), statistics.median(processor))
        wait_for(self._device)
        waited = self._now()[0] - self._last[0]  # for steps that were queued
        seconds = (sum(wall) + waited) / len(wall)
        return Speed(BATCH_SIZE / seconds, statistics.mean(processor))


def draw_face(seed: int, width: int, height: int) -> Image.Image:
    """A smooth picture with fine noise, about as hard to decode as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.integers(-12, 13, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw_faces(folder: Path, count: int) -> None:
    """JPEGs of CelebA's size."""
    folder.mkdir()
    for i in range(count):
        draw_face(i, 178, 218).save(folder / f"{i + 1:06d}.jpg", quality=90)


def draw_pixels(count: int) -> np.ndarray:
    """Decoded images, uint8 (count, 64, 64, 3)."""
    return np.stack([np.asarray(draw_face(i, 64, 64)) for i in range(count)])


class Pixels(Dataset):
    """Decoded images one by one, as a plain loader takes them; JPEG decoding is left out."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.transform = transforms.Compose(
            [transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[place]))


def plain_speed(images: np.ndarray, device: torch.device, num_steps: int) -> Speed:
    """The plain recipe: eager, float32, contiguous, images loaded one by one."""
    torch.manual_seed(0)
    model = VAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Pixels(images), BATCH_SIZE, shuffle=True, drop_last=True)
    clock = Clock(device)
    while True:
        for batch in loader:
            batch = batch.to(device)
            reconstruction, mu, log_var = model(batch, torch.randn(BATCH_SIZE, 128, device=device))
            kl = kl_to_standard_normal(mu, log_var).sum(dim=1).mean()
            loss = 1.0 - padded_ms_ssim(reconstruction, batch) + 3e-4 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if clock.tick() == num_steps:
                return clock.speed()


def our_speed(images: Tensor, config: PretrainConfig, world: World, num_steps: int) -> Speed:
    """Ours, step by step as ``vae.train.train`` takes them."""
    _, network, optimizer = start_or_resume(config, world, None)
    loss_of = loss_of_batch(config, convolves_in_bf16(config, world.device))
    if wants_compilation(config, world):
        loss_of = compile_loss(loss_of, network, config, world, BATCH_SIZE) or loss_of
    count = len(images)
    source = batch_source(images, torch.arange(count), world.device, config.images, world.size)
    clock = Clock(world.device)
    for epoch in itertools.count():
        batches = epoch_batches(config, world, source, count, epoch, 0)
        for _ in train_steps(network, optimizer, loss_of, batches, world):
            if clock.tick() == num_steps:
                return clock.speed()
    raise AssertionError("epochs never end")


def report(name: str, value: str) -> None:
    print(f"{name:60} {value}", flush=True)


VARIANTS: dict[str, dict[str, Any] | None] = {
    "plain recipe": None,
    "ours, float32": {"precision": "float32"},
    "ours": {},
    "ours, streamed": {"images": "streamed"},
}


def measure(variant: str, pixels: Path, count: int, device: str, num_steps: int) -> Speed:
    """Speed of one variant, in a process of its own."""
    images = np.memmap(pixels, np.uint8, "c", shape=(count, 64, 64, 3))
    changes = VARIANTS[variant]
    if changes is None:
        return plain_speed(np.asarray(images), torch.device(device), num_steps)
    keep_freed_memory()
    config = PretrainConfig(data=pixels, out=pixels, batch_size=BATCH_SIZE, **changes)
    return our_speed(torch.from_numpy(images), config, World(torch.device(device)), num_steps)


def bench_training(folder: Path, device: str, num_steps: int, rounds: int) -> None:
    """All variants by turns, so that other load on the machine falls on each."""
    count = 10 * BATCH_SIZE
    images = draw_pixels(count)
    pixels = folder / "pixels.u8"
    images.tofile(pixels)
    found: dict[str, list[Speed]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, speeds in found.items():
            # A fresh process: how memory is kept is a setting of the whole process.
            with get_context("spawn").Pool(1) as pool:
                speeds.append(pool.apply(measure, (name, pixels, count, device, num_steps)))
    for name, speeds in found.items():
        rates = [speed.images_per_second for speed in speeds]
        pairs = list(zip(speeds, found["plain recipe"], strict=True))
        ratios = [one.images_per_second / plain.images_per_second for one, plain in pairs]
        work = [plain.processor_seconds / one.processor_seconds for one, plain in pairs]
        report(
            f"training, {device}, {name}",
            f"{statistics.median(rates):.0f} img/s ({min(rates):.0f} to {max(rates):.0f}), ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"processor time a step {speeds[0].processor_seconds:.3f} s, "
            f"ratio {statistics.median(work):.2f}",
        )


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def repeat_files(faces: Path, many: Path, count: int) -> None:
    """Fill the folder ``many`` with ``count`` JPEGs: those of ``faces`` under many names."""
    names = find_images(faces).names
    many.mkdir()
    first = min(count, len(names))
    for i in range(first):
        shutil.copy(faces / names[i], many / f"{i:06d}.jpg")  # links end at a file system's edge
    for i in range(first, count):
        (many / f"{i:06d}.jpg").hardlink_to(many / f"{i % len(names):06d}.jpg")


def bench_preprocessing(originals: Path, folder: Path) -> None:
    """JPEGs a second on one core and on two, a process a core, without the time to start them.

    Of repeated images: a few thousand take no longer than the processes to start.
    """
    faces = folder / "repeated"
    repeat_files(originals, faces, PREPROCESSED)
    source = find_images(faces)
    few = folder / "few"
    few.mkdir()
    few_names = source.names[:256]  # work for both processes
    for name in few_names:
        shutil.copy(faces / name, few)
    rates = {}
    cores = sorted(os.sched_getaffinity(0))
    for workers in (1, 2):
        os.sched_setaffinity(0, cores[:workers])  # the processes inherit it
        wall, processor = {}, {}
        for data in (few, faces):
            cache = folder / f"cache_{workers}_{data.name}"
            started, worked = time.perf_counter(), processor_seconds()
            load_images(data, cache, workers=workers)
            wall[data] = time.perf_counter() - started
            processor[data] = processor_seconds() - worked
            shutil.rmtree(cache)
        count = len(source.names) - len(few_names)
        rates[workers] = count / (wall[faces] - wall[few])
        report(
            f"preprocessing, {len(source.names)} JPEGs, {workers} cores",
            f"{rates[workers]:.0f} JPEG/s, started in {wall[few]:.1f} s; processor time a JPEG "
            f"{1e3 * (processor[faces] - processor[few]) / count:.2f} ms",
        )
    os.sched_setaffinity(0, cores)
    report("preprocessing, two cores over one", f"{rates[2] / rates[1]:.2f}")


def bench_gpu(faces: Path, folder: Path) -> None:
    """An epoch of CelebA's size and 30 of them from JPEG, of repeated images under many names."""
    many = folder / "many"
    repeat_files(faces, many, round(EPOCH_OF_CELEBA / 0.95))  # 5 % are held out
    config = PretrainConfig(
        data=many, out=folder / "run", cache=folder / "cache", epochs=30, device="cuda"
    )
    started = time.perf_counter()
    pretrain_vae(config)
    report("30 epochs with preprocessing, cuda", f"{time.perf_counter() - started:.0f} s")
    rows = [json.loads(row) for row in (config.out / METRICS).read_text().splitlines()]
    speed = statistics.median(row["images_per_second"] for row in rows)
    report("training, cuda, median epoch", f"{speed:.0f} img/s")
    report(f"an epoch of {EPOCH_OF_CELEBA} images, cuda", f"{EPOCH_OF_CELEBA / speed:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, help="folder of JPEGs; drawn ones by default")
    parser.add_argument("--steps", type=int, default=10, help="training steps a measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all variants")
    parser.add_argument("--only", choices=("cpu", "preprocessing", "cuda"), help="one section")
    arguments = parser.parse_args()
    report("torch, threads", f"{torch.__version__}, {torch.get_num_threads()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faces = arguments.faces
        if faces is None and arguments.only != "cpu":
            faces = folder / "faces"
            draw_faces(faces, 4_000)
        if arguments.only in (None, "cpu"):
            bench_training(folder, "cpu", arguments.steps, arguments.rounds)
        if arguments.only in (None, "preprocessing"):
            bench_preprocessing(faces, folder)
        if arguments.only not in (None, "cuda"):
            return
        if torch.cuda.is_available():
            bench_training(folder, "cuda", 20 * arguments.steps, arguments.rounds)
            bench_gpu(faces, folder)
        else:
            report("GPU section", "not run, no CUDA device here")


if __name__ == "__main__":
    main()
