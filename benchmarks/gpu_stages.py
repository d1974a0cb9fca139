"""The stages of ``benchmarks.gpu_acceptance``: each a function, run as a process of its own.

A stage notes numbers and gates as it finds them, so what was found before an error is kept. A
rehearsal runs the same code on the CPU, on little data, without generating code.
"""

import itertools
import json
import platform
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import stand_ins  # noqa: F401  first, as others import what it stands in for
from benchmarks.cuda_timing import count_kernels, timed, wait_for

ROOT = Path(__file__).parents[1]
GOAL = 60_000  # images per second of VAE training
CELEBA_TRAINING = 162_770


@dataclass(frozen=True)
class Run:
    """What a stage works with."""

    found: Path
    out: Path
    work: Path
    rehearse: bool
    numbers: dict[str, Any] = field(default_factory=dict)
    gates: dict[str, bool] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.rehearse else "cuda")

    def small(self, full: int, rehearsed: int) -> int:
        """A size: the full one, or that of a rehearsal."""
        return rehearsed if self.rehearse else full

    def note(self, name: str, value: object) -> None:
        """Keep a number."""
        self.numbers[name] = value
        self._write()

    def gate(self, name: str, met: object) -> None:
        """Keep a verdict; asked twice under a name, it is met if both are."""
        self.gates[name] = self.gates.get(name, True) and bool(met)
        self._write()

    def speed_gate(self, name: str, met: object) -> None:
        """A gate that only a GPU can meet."""
        if not self.rehearse:
            self.gate(name, met)

    def _write(self) -> None:
        kept = json.dumps({"numbers": self.numbers, "gates": self.gates})
        self.found.write_text(kept, encoding="utf-8")


QUERY = ("name", "driver_version", "clocks.sm", "clocks.mem", "power.limit")


def facts(run: Run) -> None:
    """Machine and installation; env.txt has what tools print."""
    asked = [
        ["nvidia-smi"],
        ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv"],
        ["nvcc", "--version"],
        ["cc", "--version"],
        ["c++", "--version"],
        [sys.executable, "-m", "pip", "list"],
    ]
    parts = []
    for command in asked[: run.small(len(asked), 5)]:
        text = "not found"
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True)
            text = done.stdout + done.stderr
        parts.append(f"$ {' '.join(command)}\n{text}")
    (run.out / "env.txt").write_text("\n".join(parts), encoding="utf-8")
    run.note("python", platform.python_version())
    run.note("torch", torch.__version__)
    run.note("CUDA of torch", torch.version.cuda)
    run.note("cuDNN", torch.backends.cudnn.version())
    if run.device.type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        run.note("GPU", f"{properties.name}, {torch.cuda.device_count()} of them")
        run.note("capability", torch.cuda.get_device_capability(0))
        run.note("memory, GB", properties.total_memory / 1e9)
    from scripts.health import examine

    for finding in examine(str(run.device), run.work / "cache"):
        run.note(finding.what, finding.found)
        run.gate(finding.what, not finding.wrong)


GPU_TESTS = (
    "test_distill_gpu.py",
    "test_distill_train.py",
    "test_experiment_device.py",
    "test_neural_gpu.py",
    "test_sampling_average.py",
    "test_sampling_gpu.py",
    "test_vae_batches.py",
    "test_vae_gpu.py",
)


def tests(run: Run) -> None:
    """The tests marked gpu, except those of compiled code."""
    _pytest(run, GPU_TESTS, "not compiled", "gpu_tests.xml")


def compiled_tests(run: Run) -> None:
    """The tests of compiled code."""
    _pytest(run, ["test_vae_gpu.py"], "compiled", "compiled_tests.xml")


def _pytest(run: Run, names: Sequence[str], which: str, report: str) -> None:
    import pytest

    files = [str(ROOT / "tests" / name) for name in names]
    options = ["-q", "-m", "gpu", "-k", which, "-rs", "--continue-on-collection-errors"]
    options += ["-p", "no:cacheprovider"]
    options += [f"--junitxml={run.out / report}"]
    status = pytest.main([*options, *files])
    # 5: no test was selected, where there is no GPU to select them for
    run.gate("all pass", status in ((0, 5) if run.rehearse else (0,)))


@dataclass(frozen=True)
class Training:
    """Endless gradient steps of the VAE, and how long it took to make the first ones ready."""

    steps: Iterator[Tensor]
    seconds_to_compile: float


def vae_training(
    run: Run,
    batch_size: int,
    graphs: bool = True,
    traced: bool = False,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Training:
    """As ``vae.train`` takes them.

    Args:
        graphs: Whether compiled steps are replayed as CUDA graphs, as they are by default.
        traced: Whether a rehearsal traces the step, which takes seconds.
        changes: Flags of the pretraining.
    """
    from benchmarks.bench_vae import draw_pixels
    from vae.batches import batch_source
    from vae.config import PretrainConfig
    from vae.parallel import World
    from vae.train import (
        compile_loss,
        convolves_in_bf16,
        epoch_batches,
        loss_of_batch,
        start_or_resume,
        train_steps,
        wants_compilation,
    )

    torch.backends.cudnn.allow_tf32 = False  # as pick_device has it
    config = PretrainConfig(data=Path("."), out=Path("."), batch_size=batch_size, **changes)
    world = World(run.device)
    images = torch.from_numpy(draw_pixels(run.small(1280, 32)))
    images = images.repeat(-(-batch_size // len(images)), 1, 1, 1)
    _, network, optimizer = start_or_resume(config, world, None)
    loss_of = loss_of_batch(config, convolves_in_bf16(config, run.device))
    started = time.perf_counter()
    if run.rehearse or wants_compilation(config, world):
        with _compiler(run, graphs, traced):
            compiled = compile_loss(loss_of, network, config, world, batch_size)
        run.gate("compiles", compiled is not None)
        loss_of = compiled or loss_of
    wait_for(run.device)
    seconds = time.perf_counter() - started
    source = batch_source(images, torch.arange(len(images)), run.device, config.images, 1)

    def steps() -> Iterator[Tensor]:
        for epoch in itertools.count():
            batches = epoch_batches(config, world, source, len(images), epoch, 0)
            yield from train_steps(network, optimizer, loss_of, batches, world)

    return Training(steps(), seconds)


@contextmanager
def _compiler(run: Run, graphs: bool, traced: bool = False) -> Iterator[None]:
    """Compilation without CUDA graphs, or in a rehearsal without code generation; else as it is."""
    kept: Callable = torch.compile

    def changed(loss: Callable, mode: str | None) -> Callable:
        if run.rehearse:
            return kept(loss, backend="aot_eager") if traced else loss
        return kept(loss, mode=mode if graphs else None)

    torch.compile = changed  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = kept  # type: ignore[assignment]


def take(steps: Iterator[Tensor], count: int) -> Tensor:
    """The losses of some gradient steps, (count, 4), on the device."""
    return torch.stack(list(itertools.islice(steps, count)))


def speed(run: Run, training: Training, batch_size: int, count: int) -> float:
    """Images per second over some steps between two waits for the device."""
    take(training.steps, run.small(10, 1))
    losses: list[Tensor] = []
    seconds = timed(lambda: losses.append(take(training.steps, count)), run.device)
    run.gate("losses are finite", losses[0].isfinite().all())
    return count * batch_size / seconds


def vae_speed(run: Run) -> None:
    """Compiled training at the default batch size."""
    from torch._dynamo.utils import counters

    batch = run.small(128, 8)
    training = vae_training(run, batch, traced=True)
    run.note("seconds to compile", training.seconds_to_compile)
    rate = speed(run, training, batch, run.small(600, 2))
    run.note("images per second", rate)
    run.speed_gate(f">= {GOAL} images per second", rate >= GOAL)
    run.note("graphs", counters["stats"]["unique_graphs"])
    run.gate("one graph", counters["stats"]["unique_graphs"] == 1)
    run.gate("no graph breaks", not counters["graph_break"])
    run.note("CUDA graphs skipped", counters["inductor"]["cudagraph_skips"])
    run.speed_gate("CUDA graphs used", not counters["inductor"]["cudagraph_skips"])
    few = run.small(20, 1)  # fewer launches than the queue holds
    wait_for(run.device)
    started = time.perf_counter()
    take(training.steps, few)
    run.note("host, ms per step", 1e3 * (time.perf_counter() - started) / few)
    if run.device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        take(training.steps, 200)
        end.record()
        wait_for(run.device)
        run.note("device, ms per step", begin.elapsed_time(end) / 200)
        run.note("peak memory, GB", torch.cuda.max_memory_allocated() / 1e9)
    _profile(run, training)


def _profile(run: Run, training: Training) -> None:
    """Kernels of a step, in profile.txt, and the share of time in which none runs."""
    from torch.profiler import ProfilerActivity, profile

    count = run.small(20, 1)
    kind = ProfilerActivity.CPU if run.rehearse else ProfilerActivity.CUDA
    with profile(activities=[kind]) as profiler:
        seconds = timed(lambda: take(training.steps, count), run.device)
    where = "cpu" if run.rehearse else "cuda"
    table = profiler.key_averages().table(sort_by=f"self_{where}_time_total", row_limit=25)
    (run.out / "profile.txt").write_text(table, encoding="utf-8")
    if not run.rehearse:
        kernels = [
            event
            for event in profiler.events()
            if event.device_type == torch.autograd.DeviceType.CUDA
        ]
        busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
        run.note("kernels per step", len(kernels) / count)
        run.note("idle share", 1.0 - busy / seconds)


def students(run: Run) -> None:
    """Steps per second of a captured step, and students against the closed form."""
    from diffusion.schedule import cosine_schedule
    from distill.gradient_steps import fit_on_cuda
    from distill.jobs import Job, Training, do_job, steps_per_merge
    from planner.budget import Stage
    from planner.strategies import CANONICAL

    if run.rehearse:  # its graphs replay on the CPU
        import pytest

        from tests import fake_cuda

        fake_cuda.install(pytest.MonkeyPatch())
    width, steps = 128, run.small(2_000, 200)
    generator = torch.Generator().manual_seed(0)
    theta, embeddings = torch.rand(2, width, 64, generator=generator).to(run.device)
    x_start = torch.randn(run.small(2560, 16), width, generator=generator).to(run.device)
    pair = (x_start, 0.5 * x_start)

    def fit(count: int) -> Tensor:
        own = np.full(width, count)
        return fit_on_cuda(theta, embeddings / 8, [pair] * count, own, 1e-3, lambda: None)

    first = timed(lambda: fit(steps), run.device)
    one, two = (timed(partial(fit, n * steps), run.device) for n in (1, 2))
    run.note("gradient steps per second", steps / (two - one))
    run.note("seconds of a capture", first - one)
    run.speed_gate(">= 100,000 steps per second", steps / (two - one) >= 100_000)
    if not run.rehearse:
        kernels = count_kernels(lambda: fit(2 * steps)) - count_kernels(lambda: fit(steps))
        run.note("kernels per gradient step", kernels / steps)

    plans = (CANONICAL["sequential_boot"](6),) * 4
    job = Job("acceptance", plans, steps_per_merge(plans, Stage("per_merge", 300)), seed=0)
    asked = Training(
        cosine_schedule(6), (0.2, 0.7, 1.0, 1.3), None, 200, 1e-3, "sgd", str(run.device)
    )
    trained = do_job(asked, job).operator
    off = float(np.abs(trained - do_job(replace(asked, engine="closed_form"), job).operator).max())
    run.note("furthest operator from the closed form", off)
    run.gate("within 2e-5 of the closed form", off < 2e-5)


def neural(run: Run) -> None:
    """Neural students of all strategies, side by side and one after another."""
    from benchmarks.bench_neural import ONE_BY_ONE, SIDE_BY_SIDE, furthest, latents, plane, train

    steps: tuple[int, ...] = (2,) if run.rehearse else (30, 100)
    num_steps, few = run.small(16, 4), (run.small(10, 1),)
    width, depth = run.small(384, 16), run.small(3, 1)
    cases = {
        "plane": plane(
            run.work, run.device, num_steps=num_steps, steps_per_merge=steps, width=run.small(64, 8)
        ),
        "latents": latents(
            run.work,
            run.device,
            width,
            depth,
            num_steps=num_steps,
            steps_per_merge=few,
        ),
    }
    for name, setting in cases.items():
        beside, seconds = train(setting, SIDE_BY_SIDE)
        run.note(f"{name}, side by side, seconds", seconds)
        one, alone = train(setting, ONE_BY_ONE)
        run.note(f"{name}, one after another, seconds", alone)
        run.note(f"{name}, ratio", alone / seconds)
        off = furthest(one, beside)
        run.note(f"{name}, largest relative difference of an error", off)
        run.gate(f"{name}: errors within 5 %", off < 0.05)
        run.speed_gate(f"{name}: side by side is faster", alone > seconds)


def vae_variants(run: Run) -> None:
    """Eager, float32 and streamed training, beside the default, in one process."""
    variants: dict[str, dict[str, Any]] = {
        "eager": {"compile": "off"},
        "resident": {},
        "streamed": {"images": "streamed"},
        "float32": {"precision": "float32"},
    }
    batch = run.small(128, 8)
    rates = {}
    for name, changes in variants.items():
        training = vae_training(run, batch, changes=changes)
        rates[name] = speed(run, training, batch, run.small(200, 1))
        run.note(f"{name}, images per second", rates[name])
    run.speed_gate("streamed >= 0.9 resident", rates["streamed"] >= 0.9 * rates["resident"])


def vae_larger(run: Run) -> None:
    """A larger batch, and the default one without CUDA graphs."""
    for name, batch, graphs in (("batch 512", 512, True), ("batch 128, no graphs", 128, False)):
        batch = run.small(batch, 8)
        training = vae_training(run, batch, graphs)
        run.note(f"{name}, images per second", speed(run, training, batch, run.small(300, 1)))


def resume(run: Run) -> None:
    """A pretraining that was stopped after a step and resumed, beside one that was not."""
    from vae.checkpoint import load_state
    from vae.config import PretrainConfig
    from vae.pretrain_vae import pretrain_vae

    faces = _faces(run, run.small(2_560, 60))
    size: Literal[32, 64] = 32 if run.rehearse else 64
    config = PretrainConfig(
        data=faces,
        out=run.work / "whole",
        cache=run.work / "faces_cache",
        epochs=2,
        batch_size=run.small(128, 16),
        image_size=size,
        device=str(run.device),
        max_shift=2,
    )
    pretrain_vae(config)
    stopped = replace(config, out=run.work / "stopped")
    run.gate("stops", not pretrain_vae(replace(stopped, max_minutes=1e-9)))
    run.gate("resumes", pretrain_vae(stopped))
    states = [load_state(asked.out, size) for asked in (config, stopped)]
    assert states[0] is not None
    assert states[1] is not None
    whole, resumed = states[0].model, states[1].model
    off = max(_relative(resumed[name], value) for name, value in whole.items())
    run.note("largest relative difference of a tensor", off)
    run.note("equal to the last bit", off == 0.0)
    run.gate("relative difference < 1e-2", off < 1e-2)
    rows = [json.loads(row) for row in (config.out / "metrics.jsonl").read_text().splitlines()]
    run.note("last epoch", rows[-1])
    run.note("facts", json.loads((config.out / "config.json").read_text())["facts"])


def _faces(run: Run, count: int) -> Path:
    """A folder of JPEGs of CelebA's size, few of them under many names."""
    from benchmarks.bench_vae import draw_faces, repeat_files

    drawn, faces = run.work / f"drawn_{count}", run.work / f"faces_{count}"
    draw_faces(drawn, run.small(512, 60))
    repeat_files(drawn, faces, count)
    return faces


def _relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, over all entries."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


def parity(run: Run) -> None:
    """Encoding, decoding, MS-SSIM and validation on the device and on the CPU."""
    from benchmarks.bench_vae import draw_pixels
    from vae.batches import draw
    from vae.checkpoint import embedded_vae, load_vae
    from vae.evaluate import evaluate_vae
    from vae.model import to_float
    from vae.ms_ssim import ms_ssim

    pixels = torch.from_numpy(draw_pixels(run.small(512, 16)))
    codes = torch.randn(run.small(64, 4), 128, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def computed(device: torch.device) -> dict[str, Tensor]:
        model = load_vae(embedded_vae()).to(device)
        images = to_float(pixels.to(device))
        mu, log_var = model.encode(images)
        decoded = model.decode(codes.to(device))
        quality = evaluate_vae(model, pixels)
        return {
            "mu": mu,
            "log_var": log_var,
            "decoded": decoded,
            "ms_ssim": ms_ssim(model.decode(mu), images),
            "quality": torch.tensor([quality.ms_ssim, quality.psnr, quality.kl]),
        }

    expected = computed(torch.device("cpu"))
    for tf32 in (True, False):
        torch.backends.cudnn.allow_tf32 = tf32
        found = computed(run.device)
        off = {name: _relative(found[name], value) for name, value in expected.items()}
        how = "TF32" if tf32 else "float32"
        for name, value in off.items():
            run.note(f"{name}, {how}, relative difference", value)
    run.gate("float32 within 1e-4", max(off.values()) < 1e-4)
    eps = draw((0, 0, 0), run.small(4096, 64), 64, 2, run.device).eps.double()
    deviation = float((eps.square().mean() - 1.0).abs() * (eps.numel() / 2) ** 0.5)
    run.note("variance of the noise from 1, in standard errors", deviation)
    run.gate("noise has variance 1", deviation < 5.0)


def estimator(run: Run) -> None:
    """Updates per second of the noise estimator, and how often one waits for the device."""
    from torch.optim.swa_utils import AveragedModel

    from diffusion.covariance import Eigenbasis
    from diffusion.schedule import cosine_schedule
    from sampling.config import TrainConfig
    from sampling.noise_estimator import NoiseEstimator
    from sampling.train import noise_levels, train_updates

    sizes = {"width": 16, "depth": 1, "batch_size": 8} if run.rehearse else {}
    config = TrainConfig(latents=Path("."), out=Path("."), **sizes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    data = Eigenbasis(np.zeros(128), np.ones(128), np.eye(128))
    model = NoiseEstimator(data, config.width, config.depth, config.dropout).to(run.device)
    average = AveragedModel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, fused=True)
    latents = torch.randn(run.small(20_000, 64), 128).to(run.device)
    levels = noise_levels(cosine_schedule(config.num_levels), run.device)

    def train(count: int, watch: "_Watch") -> None:
        numbers = range(count)
        train_updates(model, average, optimizer, latents, levels, numbers, config, watch)  # type: ignore[arg-type]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(run.small(20, 3), _Watch(run.small(20, 0)))
    waits = [str(one.message) for one in caught if "synchroniz" in str(one.message)]
    run.note("waits in 20 updates", waits[:3])
    run.gate("nothing waits", not waits)
    count = run.small(500, 2)
    run.note("updates per second", count / timed(lambda: train(count, _Watch(0)), run.device))


class _Watch:
    """A progress bar that lets torch report waits after the first update and before the last."""

    def __init__(self, last: int) -> None:
        self.taken, self.last = 0, last  # 0 reports nothing

    def update(self) -> None:
        self.taken += 1
        if self.last:
            torch.cuda.set_sync_debug_mode("warn" if self.taken < self.last else "default")


def several_processes(run: Run) -> None:
    """Wrapped networks of one process (NCCL) and of two on one device (gloo, only recorded)."""
    import torch.distributed as dist
    import torch.multiprocessing as mp

    if not run.rehearse:
        torch.backends.cudnn.allow_tf32 = False
    model, images, eps = _network_and_batch(run.device)
    expected = _gradients(model, model, images, eps)
    dist.init_process_group(
        "gloo" if run.rehearse else "nccl",
        init_method=f"file://{run.work / 'rendezvous_one'}",
        rank=0,
        world_size=1,
    )
    from vae.parallel import wrap

    device = torch.device("cuda", 0) if run.device.type == "cuda" else run.device
    for name in ("eager", "compiled"):
        model, images, eps = _network_and_batch(device)
        network = wrap(model, device)
        if name == "compiled":  # tracing takes a rehearsal too long; test_vae_parallel does it
            network = torch.compile(network, disable=run.rehearse)  # type: ignore[assignment]
        found = _gradients(model, network, images, eps)
        off = max(_relative(found[key], value) for key, value in expected.items())
        run.note(f"one process, {name}: largest relative difference", off)
        run.gate(f"one process, {name}: within 1e-4", off < 1e-4)
    dist.destroy_process_group()
    target = run.work / "two.pt"
    try:
        mp.spawn(_one_of_two, (str(run.work), str(target), device.type), nprocs=2)
    except mp.ProcessRaisedException as error:  # gloo may not know an operator on CUDA
        run.note("two processes on one device", str(error).strip().splitlines()[-1])
        return
    found = torch.load(target)
    off = max(_relative(found[key], value) for key, value in expected.items())
    run.note("two processes on one device: largest relative difference", off)
    run.gate("two processes: within 1e-4", off < 1e-4)


def _network_and_batch(device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    from vae.model import VAE

    torch.manual_seed(0)
    model = VAE(32)
    images, eps = torch.rand(8, 3, 32, 32), torch.randn(8, 128)
    return model.to(device), images.to(device), eps.to(device)


def _gradients(
    model: nn.Module, network: nn.Module, images: Tensor, eps: Tensor
) -> dict[str, Tensor]:
    """Gradients of a batch, and the buffers that it moved, on the CPU."""
    from vae.loss import vae_loss

    reconstruction, mu, log_var = network(images, eps)
    vae_loss(reconstruction, images, mu, log_var, 1e-3, 0.1).total.backward()
    found = {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return found | {name: buffer.cpu() for name, buffer in model.named_buffers()}


def _one_of_two(rank: int, work: str, target: str, kind: str) -> None:
    import torch.distributed as dist

    from vae.parallel import wrap

    torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")
    meeting = f"file://{Path(work) / 'rendezvous_two'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    model, images, eps = _network_and_batch(device)
    own = slice(4 * rank, 4 * rank + 4)
    found = _gradients(model, wrap(model, device), images[own], eps[own])
    if rank == 0:
        torch.save(found, target)
    dist.barrier()  # gloo aborts a process whose threads still serve the other at its end
    dist.destroy_process_group()


def celeba_epoch(run: Run) -> None:
    """Epochs of CelebA's size on random pixels in the device's memory, and a validation."""
    from vae.batches import batch_source
    from vae.config import PretrainConfig
    from vae.evaluate import evaluate_vae
    from vae.parallel import World
    from vae.train import (
        compile_loss,
        convolves_in_bf16,
        epoch_batches,
        loss_of_batch,
        start_or_resume,
        train_steps,
    )

    count, held_out = run.small(CELEBA_TRAINING, 32), run.small(19_867, 8)
    config = PretrainConfig(data=Path("."), out=Path("."), batch_size=run.small(128, 8))
    world = World(run.device)
    generator = torch.Generator().manual_seed(0)
    few = torch.randint(
        0, 256, (run.small(4_000, 40), 64, 64, 3), dtype=torch.uint8, generator=generator
    )
    images = few.repeat(-(-(count + held_out) // len(few)), 1, 1, 1)[: count + held_out]
    sources: list[Callable[[Tensor], Iterator[Tensor]]] = []

    def copy() -> None:
        sources.append(
            batch_source(images, torch.arange(count), run.device, "resident", world.size)
        )

    run.note("seconds to copy the images", timed(copy, run.device))
    model, network, optimizer = start_or_resume(config, world, None)
    loss_of = loss_of_batch(config, convolves_in_bf16(config, run.device))
    with _compiler(run, graphs=True):
        loss_of = compile_loss(loss_of, network, config, world, config.batch_size) or loss_of

    losses: list[Tensor] = []

    def epoch(number: int) -> None:
        batches = epoch_batches(config, world, sources[0], count, number, 0)
        losses.append(torch.stack(list(train_steps(network, optimizer, loss_of, batches, world))))

    seconds = [timed(partial(epoch, n), run.device) for n in range(run.small(5, 1))]
    run.note("seconds per epoch", seconds)
    run.gate("losses are finite", torch.cat(losses).isfinite().all())
    run.speed_gate("an epoch < 2.8 s", min(seconds) < 2.8)
    tail = images[count:]
    run.note("seconds of a validation", timed(lambda: evaluate_vae(model, tail), run.device))


def comparison(run: Run) -> None:
    """A whole comparison by real gradient steps on one device, and JPEG decoding."""
    from distill.compare_strategies import compare_strategies
    from distill.config import CompareConfig
    from vae.cache import load_images

    config = CompareConfig(
        out=run.work / "comparison",
        engine="sgd",
        device=str(run.device),
        workers=1,
        num_steps=run.small(32, 4),
        batch_size=run.small(2560, 16),
        steps_per_merge=(2,) if run.rehearse else (10, 100, 1000),
    )
    started = time.perf_counter()
    compared = compare_strategies(config)
    run.note("seconds of the comparison", time.perf_counter() - started)
    run.note("seconds of training in it", sum(own.seconds for own in compared.students.values()))
    run.note("students", len(compared.students))
    run.gate("finite", all(np.isfinite(own.operator).all() for own in compared.students.values()))
    count = run.small(20_000, 8)
    faces = _faces(run, count)
    started = time.perf_counter()
    load_images(faces, run.work / "jpeg_cache")
    run.note("JPEGs decoded per second", count / (time.perf_counter() - started))


def run(stage: str, found: Path, out: Path, work: Path, rehearse: bool) -> None:
    """Run a stage; its numbers and gates go to the JSON file ``found``."""
    torch._logging.set_logs(graph_breaks=True, recompiles=True, cudagraphs=True)
    STAGES[stage](Run(found, out, work, rehearse))


STAGES: dict[str, Callable[[Run], None]] = {
    stage.__name__: stage
    for stage in (
        facts,
        tests,
        vae_speed,
        students,
        neural,
        vae_variants,
        compiled_tests,
        resume,
        parity,
        estimator,
        vae_larger,
        several_processes,
        celeba_epoch,
        comparison,
    )
}
