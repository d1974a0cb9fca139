"""Checks of the installation for the command doctor."""

import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import matplotlib_fname
from torch import Tensor

from diffusion.grid import uniform_log_snr_grid
from diffusion.samplers import SAMPLERS
from diffusion.schedule import cosine_schedule
from experiment.device import pick_device
from experiment.folder import provenance
from experiment.read import TEXT, reading, short_repr
from experiment.surroundings import cache_root, can_start_processes, writable_home
from experiment.write import sha256
from planner.compiled import IS_COMPILED
from planner.per_dimension import optimal_values
from planner.per_dimension_kernel import fill_table
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import plan_operator
from sampling.inputs import load_models
from sampling.sample_faces import sample_latents
from vae.checkpoint import embedded_vae, load_vae
from vae.latents import LATENTS_FILE, load_latents, refuse_mismatch

PACKAGES = ("sampling", "vae")
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    wrong: str = ""  # the fault and its remedy; empty if there is none


def examine(device_name: str, cache: Path) -> Iterator[Finding]:
    """Check versions, device, planner, embedded models and cache, one after another."""
    device = pick_device(device_name)
    made = provenance(str(device))
    yield Finding("commit", str(made["git_commit"] or "not a git checkout"))
    for group in ("versions", "hardware"):
        yield Finding(group, ", ".join(f"{name} {value}" for name, value in made[group].items()))
    yield examine_device(device)
    yield examine_planner()
    yield from examine_surroundings()
    root = Path(__file__).parents[1]
    for package in PACKAGES:
        folder = root / package / "pretrained"
        if folder.is_dir():
            yield from examine_files(folder)
    yield examine_vae(device)
    yield examine_estimator(device)
    yield examine_cache(cache)


def examine_device(device: torch.device) -> Finding:
    """Whether matrix products on the device agree with float64 on the CPU."""
    left, right = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    try:
        product = (left.to(device) @ right.to(device)).cpu().double()
    except RuntimeError as error:
        return Finding("device", str(device), f"{error}; try --device cpu")
    off = float((product - left.double() @ right.double()).abs().max())
    found = f"{device}, CUDA {torch.version.cuda or 'not built in'}"
    # TF32 has 10 bits of mantissa: a sum of 64 products of size 1 has an error of about 0.01.
    wrong = "" if off < 0.1 else f"a product of matrices is off by {off:.2g}; try --device cpu"
    return Finding("device", found, wrong)


def examine_planner() -> Finding:
    """Whether the compiled search finds the optima of the theory: BOOT at 0.5, vanilla at 3."""
    problem = make_problem(cosine_schedule(8), np.array([0.5, 3.0])).with_training(train_time=1.6)
    searched = optimal_values(problem, full_search=True)
    proven = [
        plan_operator(CANONICAL[name](8), problem.operators[:, i], problem.shrinkage[:, i])
        for i, name in enumerate(("sequential_boot", "vanilla"))
    ]
    off = float(np.abs(searched - proven).max())
    wrong = "" if off < 1e-12 else f"its optimum is off by {off:.2g}; install numba again"
    how = "compiled" if IS_COMPILED else "not compiled (NUMBA_DISABLE_JIT is set), slow"
    return Finding("planner", f"{how}, within {off:.0e} of theory", wrong)


def examine_surroundings() -> Iterator[Finding]:
    """User, home folder, caches of libraries, processes, plot settings and terminal.

    None of these is a fault: commands work without them, and this says what they do instead.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = "unknown to the system"
    yield Finding("user", f"{os.getuid()}, {name}")
    home = writable_home()
    yield Finding(
        "home", str(home) if home else f"none can be written, caches are in {cache_root()}"
    )
    yield Finding("numba cache", _numba_cache())
    yield Finding(
        "processes",
        "can be started"
        if can_start_processes()
        else "none can be started, because /dev/shm cannot be written: threads decode images, and "
        "one process trains",
    )
    yield Finding("matplotlib", f"{matplotlib_fname()}; figures have a style of their own")
    encoding = getattr(sys.stdout, "encoding", None) or "no encoding"
    spared = "" if "utf" in encoding.lower() else ", so other characters are printed as ?"
    yield Finding("terminal", f"{encoding}{spared}; files are UTF-8")


def _numba_cache() -> str:
    cache = getattr(getattr(fill_table, "_cache", None), "cache_path", None)
    return str(cache or "none, the planner is compiled anew by every command")


def examine_files(folder: Path) -> Iterator[Finding]:
    """Whether the embedded files of a package have the hashes in its SHA256SUMS."""
    name = f"{folder.parent.name}/{folder.name}"
    try:
        sums = read_sums(folder / SUMS)
    except (OSError, ValueError) as error:
        yield Finding(f"{name}/{SUMS}", "not read", str(error))
        return
    for file in sorted(sums.keys() | {path.name for path in folder.glob("*.safetensors")}):
        path = folder / file
        wrong = "" if file in sums else f"not named in {SUMS}; remove it"
        digest = sha256(path) if path.is_file() else "missing"
        if file in sums and digest != sums[file]:
            wrong = f"not the file that {SUMS} names; install mergelab again"
        yield Finding(f"{name}/{file}", f"sha256 {digest[:16]}", wrong)


def read_sums(path: Path) -> dict[str, str]:
    """File -> SHA-256 in a SHA256SUMS.

    Raises:
        FileNotFoundError, OSError: it is missing, or cannot be read.
        ValueError: a line is not a digest and a file name.
    """
    with reading(path, f"a whole {SUMS}", "install mergelab again"):
        sums: dict[str, str] = {}
        for number, line in enumerate(path.read_text(encoding=TEXT).splitlines(), start=1):
            found = re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+)", line)
            if found is None or found[2] in sums:
                raise ValueError(f"line {number} reads {short_repr(line)}")
            sums[found[2]] = found[1]
        return sums


def examine_vae(device: torch.device) -> Finding:
    """Whether the embedded VAE decodes the mean of the embedded latents."""

    def decode() -> Tensor:
        weights = embedded_vae()
        latents = load_latents(weights.with_name(LATENTS_FILE))
        refuse_mismatch(latents, weights.with_name(LATENTS_FILE), weights)
        return load_vae(weights).to(device).decode(latents.mean.float()[None].to(device))

    return _try("embedded VAE", "decodes", decode)


def examine_estimator(device: torch.device) -> Finding:
    """Whether the embedded noise estimator belongs to the embedded VAE and works."""

    def denoise() -> Tensor:
        models = load_models(None, None, str(device))
        return sample_latents(
            SAMPLERS["ddim"], models, uniform_log_snr_grid(2, 20.0, 0.02), range(2)
        )

    return _try("embedded noise estimator", "samples", denoise)


def _try(what: str, works: str, use: Callable[[], Tensor]) -> Finding:
    try:
        wrong = "" if bool(use().isfinite().all()) else "its values are not finite"
    except (OSError, ValueError, RuntimeError) as error:  # a RuntimeError is torch's
        wrong = str(error)
    return Finding(what, "does not work" if wrong else works, wrong)


def examine_cache(cache: Path) -> Finding:
    """The cache of decoded images. A missing cache is not a fault."""
    nearest = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    if nearest.is_dir() and not os.access(nearest, os.W_OK):
        return Finding("image cache", str(cache), f"{nearest} cannot be written; give --cache")
    if not cache.exists():
        return Finding("image cache", f"{cache}, not made yet")
    if not cache.is_dir():
        return Finding("image cache", str(cache), "not a folder; remove it or give --cache")
    files = [path for path in cache.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    whole = sum(path.suffix == ".u8" for path in files)
    return Finding("image cache", f"{cache}, {whole} data sets, {size:.1f} MB")
