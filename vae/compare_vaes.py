"""The command compare_vaes: trained VAEs compared on images that none of them was trained on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiment.device import pick_device
from experiment.folder import CONFIG, RESULTS, open_run, read_run
from experiment.metrics import read_metrics
from experiment.progress import tqdm
from experiment.read import number, reading
from experiment.write import sha256, write_rows
from vae.cache import ADDED_INPUTS, load_images
from vae.checkpoint import load_vae, weights_path
from vae.config import CompareVaesConfig
from vae.evaluate import BATCH_SIZE, Quality, evaluate_vae
from vae.images import SPLITS
from vae.latents import encode, moments
from vae.model import to_float


@dataclass(frozen=True)
class VaeRow:
    """A row of ``results.csv``: reconstruction of held-out images, covariance of all latents."""

    run: str
    epochs: int
    beta: float
    ms_ssim: float
    psnr: float
    kl: float
    active_units: int
    off_diagonal_energy: float
    largest_correlation: float
    variances_above_1: int
    largest_variance: float


@dataclass(frozen=True, eq=False)
class ComparedVaes:
    """Rows and reconstructions of every run."""

    rows: tuple[VaeRow, ...]
    originals: Tensor  # (columns, 3, S, S) in [0, 1]
    reconstructions: Tensor  # (runs, columns, 3, S, S), from the posterior means


def compare_vaes(config: CompareVaesConfig) -> ComparedVaes:
    """Evaluate every run's weights, reconstruct held-out images, write ``results.csv``.

    Raises:
        FileNotFoundError, ValueError: a run or the data is not usable.
    """
    device = pick_device(config.device)
    models = [load_vae(weights_path(run)) for run in config.runs]
    trainings = [
        _read_training(run) for run in config.runs
    ]  # before the work, so a damaged record is found at once
    sizes = {model.image_size for model in models}
    if len(sizes) > 1:
        raise ValueError(f"--runs have the image sizes {sorted(sizes)}; give runs of one size")
    data = load_images(config.data, config.cache, sizes.pop())
    held_out = torch.from_numpy(data.images[data.splits == SPLITS.index("validation")])
    if not len(held_out):
        raise ValueError(
            f"{config.data}: no image is held out for validation; give --data more images"
        )
    inputs = data.inputs()
    names = [run.name for run in config.runs]
    for place, run in enumerate(config.runs):
        name = run.name if names.count(run.name) == 1 else f"{place} {run.name}"
        inputs[f"vae {name}"] = sha256(weights_path(run))
    open_run(config.out, "compare_vaes", config, inputs, str(device), added_later=ADDED_INPUTS)
    print(
        f"{len(held_out)} images to reconstruct, {len(data.images)} to encode"
        f"{data.describe_left_out()}"
    )

    # Evenly spread, because neighbours in CelebA are often the same person.
    places = np.linspace(0, len(held_out) - 1, min(config.columns, len(held_out))).astype(int)
    originals = to_float(held_out[places])
    images = torch.from_numpy(data.images)
    rows, pictures = [], []
    for run, model, training in zip(config.runs, models, trainings, strict=True):
        model.to(device)
        # The covariance of a few held-out images would be dominated by sampling noise.
        with tqdm(total=len(images), desc=f"encode by {run.name}", unit="img") as bar:
            covariance = moments(encode(model, images, BATCH_SIZE, bar))[1]
        rows.append(
            _row(run, training, replace(evaluate_vae(model, held_out), covariance=covariance))
        )
        with torch.no_grad():
            pictures.append(model.decode(model.encode(originals.to(device))[0]).cpu())
    write_rows(config.out / RESULTS, rows, VaeRow)
    return ComparedVaes(tuple(rows), originals, torch.stack(pictures))


def _read_training(run: Path) -> tuple[float, int]:
    """Beta and the number of epochs of a pretraining."""
    record = read_run(run)
    with reading(run / CONFIG, "one of pretrain_vae", "give --runs folders of pretrain_vae"):
        beta = number(record["config"], "beta")
    return beta, len(read_metrics(run, ["epoch"]))


def _row(run: Path, training: tuple[float, int], quality: Quality) -> VaeRow:
    beta, epochs = training
    found = quality.row()
    shared: dict[str, Any] = {
        name: found[name] for name in VaeRow.__dataclass_fields__ if name in found
    }
    return VaeRow(run=run.name, epochs=epochs, beta=beta, **shared)
