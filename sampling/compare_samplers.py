"""The command compare_samplers: all samplers against the exact flow and held-out latents."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from diffusion.grid import TimeGrid, fine_grid, uniform_log_snr_grid
from diffusion.samplers import DETERMINISTIC, SAMPLERS, dpmpp_2m
from diffusion.schedule_choice import schedule_fingerprint
from experiment.folder import RESULTS
from experiment.progress import tqdm
from experiment.read import TEXT, finite_text, read_table, reading, short_repr
from experiment.seeds import bank_seeds, seeded_noise
from experiment.tensors import checked_tensor, read_tensors, write_tensors
from experiment.write import write_rows
from sampling.config import CompareSamplersConfig
from sampling.frechet import frechet_distance
from sampling.inputs import Models, open_with_latents
from sampling.sample_faces import (
    decode,
    fine_schedule,
    make_time_grid,
    make_update,
    refuse_former_comparison,
    sample_latents,
    walk_start,
)
from sampling.wasserstein import Margin, margins, random_directions, sliced_w2_squared

STEPS = (5, 10, 20, 50, 100)
FLOW_STEPS = 300  # of DPM-Solver++ (2M), uniform in the half log-SNR between its ends
FLOW_KIND, FLOW_NAME = "mergelab exact flow, format 1", "flow.safetensors"
NUM_DIRECTIONS = 1_000
FACE_STEPS, FACE_COLUMNS = 10, 10
REFERENCES = {(name, 0) for name in ("gaussian", "flow", "training")}
ROWS = REFERENCES | {(name, steps) for name in SAMPLERS for steps in STEPS}
MEASURE_AGAIN = "remove it and run again"
MARGIN_COUNT = 10_000  # so many that their noise is small beside the held-out latents'


@dataclass(frozen=True)
class CompareRow:
    """A row of ``results.csv``: one sampler at one number of steps, or a reference."""

    name: str
    steps: int  # 0 for references
    w2: float  # sliced W2 to the held-out latents
    # Root mean square distance to the exact flow of the same noise, relative to two unrelated
    # latents; None for samplers that add noise.
    to_flow: float | None
    milliseconds: float  # per sample
    # Fréchet distance to the held-out latents, which are the encoder's features of held-out images;
    # None where an earlier version measured the row, or a single sample was drawn.
    frechet: float | None = None


@dataclass(frozen=True, eq=False)
class SamplerComparison:
    """All rows, the margins of ``--sampler`` over the fitted Gaussian, and the models."""

    rows: list[CompareRow]
    margins: dict[str, Margin]
    models: Models
    left_out: tuple[str, ...] = ()
    """One line per sampler or number of steps that the schedule does not allow, and why."""


def compare_samplers(config: CompareSamplersConfig) -> SamplerComparison:
    """Run every sampler with 5 to 100 steps from the same noise.

    Each row is written to ``results.csv`` at once. The same call resumes after the last row.

    Raises:
        FileNotFoundError, ValueError: models, latents or run folder are not usable.
    """
    refuse_former_comparison(config.out)
    make_time_grid(config, config.steps)  # refuses what --sampler and --steps cannot walk
    jobs, left_out = planned_rows(config)
    models, training, held_out = open_with_latents(
        "compare_samplers", config, flow_grid(config), schedule_fingerprint(config)
    )

    table = config.out / RESULTS
    seeds = bank_seeds(config.seed, config.count)
    flow = exact_flow(models, config, seeds)
    directions = random_directions(NUM_DIRECTIONS, held_out.shape[1], config.seed)

    def to_held_out(samples: Tensor) -> float | None:
        enough = min(len(samples), len(held_out)) > 1  # for a covariance
        return frechet_distance(samples, held_out) if enough else None

    rows = read_rows(table)
    if not rows:
        chosen = torch.Generator().manual_seed(config.seed)
        some = training[torch.randperm(len(training), generator=chosen)[: len(seeds)]]
        gaussian = gaussian_latents(models, seeds)
        for name, found in (("gaussian", gaussian), ("flow", flow), ("training", some)):
            w2 = sliced_w2_squared(found, held_out, directions).mean().sqrt().item()
            rows.append(CompareRow(name, 0, w2, None, 0.0, to_held_out(found)))
    done = {(row.name, row.steps) for row in rows}
    jobs = [job for job in jobs if job not in done]
    with tqdm(total=sum(steps for _, steps in jobs), unit="step", desc="compare") as bar:
        for name, steps in jobs:
            grid = make_time_grid(config, steps)
            started = time.perf_counter()
            start = walk_start(config, models.estimator, grid)
            found = sample_latents(SAMPLERS[name], models, grid, seeds, start)
            seconds = time.perf_counter() - started
            w2 = sliced_w2_squared(found, held_out, directions).mean().sqrt().item()
            to_flow = relative_distance(found, flow) if name in DETERMINISTIC else None
            speed = 1e3 * seconds / len(seeds)
            row = CompareRow(name, steps, w2, to_flow, speed, to_held_out(found))
            rows.append(row)
            write_rows(table, rows, CompareRow)
            bar.update(steps)
    many, grid = bank_seeds(config.seed, MARGIN_COUNT), make_time_grid(config, config.steps)
    start = walk_start(config, models.estimator, grid)
    found = sample_latents(make_update(config), models, grid, many, start)
    gaussian = gaussian_latents(models, many)
    beaten = margins(models.estimator, found, gaussian, held_out, config.seed)
    return SamplerComparison(rows, beaten, models, left_out)


def planned_rows(config: CompareSamplersConfig) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Samplers and numbers of steps to measure, and one line on each that is left out.

    Raises:
        FileNotFoundError, ValueError: there is no such schedule, or it has too few steps.
    """
    names, steps = list(SAMPLERS), list(STEPS)
    left_out = []
    if config.spacing == "t":
        schedule = fine_schedule(config)
        most = schedule.num_steps
        if most < FACE_STEPS:
            raise ValueError(
                f"{config.schedule} has {most} steps; this command needs {FACE_STEPS} or more"
            )
        if most < STEPS[-1]:
            steps = [count for count in STEPS if count <= most]
            more = ", ".join(str(count) for count in STEPS if count > most)
            left_out.append(f"{more} steps are left out, because {config.schedule} has {most}.")
        if schedule.alpha[-1] == 0:
            names.remove("euler_log_snr")
            left_out.append(
                "euler_log_snr is left out, because it is not defined at alpha = 0, where this "
                "schedule starts."
            )
    return [(name, count) for count in steps for name in names], tuple(left_out)


def flow_grid(config: CompareSamplersConfig) -> TimeGrid:
    """The grid on which the exact flow is solved: it has the ends of the samplers' grids."""
    if config.spacing == "t":
        return fine_grid(fine_schedule(config), FLOW_STEPS)
    return uniform_log_snr_grid(FLOW_STEPS, config.q_max, config.q_min)


def faces_by_sampler(config: CompareSamplersConfig, models: Models) -> dict[str, Tensor]:
    """Faces of the first noises with ``FACE_STEPS`` steps: name -> (B, 3, 64, 64)."""
    seeds = bank_seeds(config.seed, FACE_COLUMNS)
    fine, grid = flow_grid(config), make_time_grid(config, FACE_STEPS)
    start = walk_start(config, models.estimator, fine)  # that of the coarse grid too
    latents = {
        "gaussian": gaussian_latents(models, seeds),
        "flow": sample_latents(dpmpp_2m, models, fine, seeds, start),
    }
    for name in dict.fromkeys(name for name, _ in planned_rows(config)[0]):
        latents[name] = sample_latents(SAMPLERS[name], models, grid, seeds, start)
    return {name: decode(models.vae, found) for name, found in latents.items()}


def relative_distance(found: Tensor, flow: Tensor) -> float:
    """Root mean square distance, relative to two unrelated latents of the flow."""
    apart = 2 * flow.var(dim=0).sum()
    return ((found - flow).square().sum(dim=1).mean() / apart).sqrt().item()


def gaussian_latents(models: Models, seeds: Sequence[int]) -> Tensor:
    """Samples of the Gaussian fitted to the training latents, by its exact flow, (N, d).

    x_0 = mu + U diag(sqrt(lam)) U^T x_T
    """
    mean, variances, basis = (
        part.cpu()
        for part in (models.estimator.mean, models.estimator.variances, models.estimator.basis)
    )
    x_T = seeded_noise(seeds, len(mean))
    return mean + ((x_T @ basis) * variances.sqrt()) @ basis.T


def exact_flow(models: Models, config: CompareSamplersConfig, seeds: Sequence[int]) -> Tensor:
    """Latents of the estimator's probability flow from each seed's noise, finely solved, (N, d).

    They are computed once per run folder.
    """
    path = config.out / FLOW_NAME
    if path.exists():
        tensors, _ = read_tensors(path, FLOW_KIND, MEASURE_AGAIN)
        with reading(path, "this run's exact flow", MEASURE_AGAIN):
            return checked_tensor(
                tensors, "latents", torch.float32, (len(seeds), len(models.estimator.mean))
            )
    grid = flow_grid(config)
    flow = sample_latents(dpmpp_2m, models, grid, seeds, walk_start(config, models.estimator, grid))
    write_tensors(path, {"latents": flow}, {"kind": FLOW_KIND})
    return flow


def read_rows(path: Path) -> list[CompareRow]:
    """Rows that an earlier call wrote; none if there is no such file.

    Raises:
        OSError, ValueError: the file cannot be read, or is damaged.
    """
    if not path.exists():
        return []
    found: dict[tuple[str, int], CompareRow] = {}
    with reading(path, "a whole table of samplers", MEASURE_AGAIN):
        columns = [column.name for column in fields(CompareRow)]
        former = columns[:-1]  # of version 0.1.0
        with path.open(encoding=TEXT) as file:
            if file.readline().rstrip("\n") == ",".join(former):
                columns = former
        for line, row in read_table(path, columns):
            key = (row["name"], int(row["steps"]))
            if key in found or key not in ROWS:
                what = "a second row" if key in found else "a row that no comparison has"
                raise ValueError(f"line {line}: {what}, {short_repr(key)}")
            found[key] = CompareRow(
                *key,
                w2=finite_text(row["w2"], "w2", least=0.0),
                to_flow=finite_text(row["to_flow"], "to_flow", 0.0) if row["to_flow"] else None,
                milliseconds=finite_text(row["milliseconds"], "milliseconds", least=0.0),
                frechet=finite_text(row["frechet"], "frechet", 0.0) if row.get("frechet") else None,
            )
        if found and not found.keys() >= REFERENCES:
            raise ValueError("lacks its first rows")
    return list(found.values())
