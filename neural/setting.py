"""What a comparison of neural students works with: data, teachers, noise, plans."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.schedule import NoiseSchedule
from diffusion.schedule_choice import choose_noise_schedule, schedule_fingerprint
from experiment.device import pick_device
from experiment.progress import tqdm
from experiment.read import reading
from experiment.seeds import bank_seeds, keyed_generator, seeded_noise
from experiment.tensors import check_weights, read_tensors, write_tensors
from experiment.write import sha256
from neural.config import NeuralConfig
from neural.data import Draw, gaussian, noised_batches, ring, rows_of
from neural.distil import apply_jumps
from neural.jumps import DenoiserJump
from neural.measure import Reference
from neural.networks import HeadedEstimators, MLPs, X0Network
from neural.teachers import train_teachers
from planner.plan import Plans
from planner.plan_file import read_plans, refuse_other_schedule, refuse_other_steps
from planner.strategies import CANONICAL, plans_by_share
from sampling.estimator_file import estimator_path, load_estimator, refuse_untrained_levels
from sampling.inputs import load_models, split
from sampling.noise_estimator import NoiseEstimator
from vae.checkpoint import load_vae, weights_path
from vae.latents import (
    Latents,
    find_decoder,
    latents_fingerprint,
    load_latents,
    refuse_mismatch,
)
from vae.model import VAE

TEACHERS_KIND = "mergelab neural teachers, format 1"
TEACHERS_FILE = "teachers.safetensors"
JOINT_SOLVERS = ("pareto", "beam", "greedy")  # best first
TEACHER_BATCHES = 4  # batches of the students in one of a teacher
# What a generator is for, the second part of its key.
TEACHER_WEIGHTS, TEACHER_DATA, STUDENT_DATA = range(3)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run reads before it begins, on its device."""

    device: torch.device
    schedule: NoiseSchedule
    draw: Draw
    variances: NDArray[np.float64]
    """Variances of the data in the coordinates of the linear theory, (d,)."""
    planned: dict[str, Plans]
    """Joint plans from a file: strategy -> one plan, for students of one step."""
    hashes: dict[str, str]
    """Name of each input -> its SHA-256."""
    estimator: HeadedEstimators | None = None
    vae: VAE | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """Teachers, and all that their students need. Members are ordered teacher by teacher."""

    config: NeuralConfig
    inputs: Inputs
    schedule: NoiseSchedule
    teachers: X0Network
    """One member per student: every teacher as often as it has students."""
    reference: Reference

    def plans_of(self, student_steps: int) -> dict[str, Plans]:
        """Strategy -> one plan per step of the student, noisiest first."""
        found = {
            name: plans_by_share(make, self.config.num_steps, student_steps)
            for name, make in CANONICAL.items()
        }
        return found | (self.inputs.planned if student_steps == 1 else {})

    def batches(self, start: int, stop: int) -> Iterator[Tensor]:
        """Training inputs x_start of a merge, (S, B, d), the same for every teacher."""
        config = self.config
        generators = [
            keyed_generator(config.seed, STUDENT_DATA, number, start, stop)
            for number in range(config.seeds)
        ]
        alpha, sigma = float(self.schedule.alpha[start]), float(self.schedule.sigma[start])
        device = self.inputs.device
        for batch in noised_batches(
            self.inputs.draw, alpha, sigma, config.batch_size, generators, device
        ):
            yield batch.repeat(config.num_teachers, 1, 1)


def read_inputs(config: NeuralConfig) -> Inputs:
    """Read and check the files that the flags name.

    Raises:
        FileNotFoundError, OSError, ValueError: a file is missing, damaged, or does not fit.
    """
    schedule = choose_noise_schedule(config, config.num_steps)
    planned, hashes = _read_planned(config, schedule)
    hashes |= schedule_fingerprint(config)
    if config.distribution != "latents":
        is_ring = config.distribution == "ring"
        draw = ring(config.variances, config.separation) if is_ring else gaussian(config.variances)
        device = pick_device(config.device)
        return Inputs(device, schedule, draw, np.array(config.variances), planned, hashes)
    return _read_latents(config, schedule, planned, hashes)


def _read_latents(
    config: NeuralConfig,
    schedule: NoiseSchedule,
    planned: dict[str, Plans],
    hashes: dict[str, str],
) -> Inputs:
    assert config.latents is not None  # the config refuses --distribution latents without
    latents = load_latents(config.latents, print, full=False)
    device = pick_device(config.device)
    vae: VAE | None
    if latents.vae_sha256 is None:
        estimator, vae, models = _models_of_own_latents(config, schedule, latents)
    else:
        loaded = load_models(config.estimator, config.vae, config.device)
        refuse_untrained_levels(loaded.trained, schedule)
        refuse_mismatch(latents, config.latents, weights_path(config.vae))
        estimator, vae, models = loaded.estimator, loaded.vae, loaded.inputs
    training, _ = split(latents, config.latents)
    width = len(estimator.mean)
    if training.shape[1] != width:
        raise ValueError(
            f"{config.latents}: latents have {training.shape[1]} coordinates, the teacher takes "
            f"{width}; give --estimator one that was trained on these latents"
        )
    fingerprint = latents_fingerprint(latents, config.latents)
    return Inputs(
        device=device,
        schedule=schedule,
        draw=rows_of(training),
        variances=estimator.spread.double().cpu().numpy(),
        planned=planned,
        hashes=hashes | models | {"latents": fingerprint},
        estimator=HeadedEstimators(estimator.to(device), config.seeds),
        vae=None if vae is None else vae.to(device),
    )


def _models_of_own_latents(
    config: NeuralConfig, schedule: NoiseSchedule, latents: Latents
) -> tuple[NoiseEstimator, VAE | None, dict[str, str]]:
    """The estimator of latents of an unknown encoder, the VAE if one is given, and both SHA-256.

    Raises:
        FileNotFoundError, OSError, ValueError: a file is missing or damaged, the estimator is of
            other latents, or the VAE of another width.
    """
    assert config.latents is not None  # the config refuses --distribution latents without
    if config.estimator is None:
        raise ValueError(
            f"{config.latents}: needs --estimator, a teacher of these latents; train it with "
            f"mergelab train_noise_estimator --latents {config.latents}"
        )
    path = estimator_path(config.estimator)
    model, trained = load_estimator(path)
    if trained.data_fingerprint != latents.data_fingerprint:
        raise ValueError(
            f"{path}: not trained on {config.latents}; train a teacher with "
            f"mergelab train_noise_estimator --latents {config.latents}"
        )
    refuse_untrained_levels(trained, schedule)
    hashes = {"estimator": sha256(path)}
    weights = find_decoder(config.vae, latents, config.latents)
    if weights is None:
        return model, None, hashes
    return model, load_vae(weights), hashes | {"vae": sha256(weights)}


def _read_planned(
    config: NeuralConfig, schedule: NoiseSchedule
) -> tuple[dict[str, Plans], dict[str, str]]:
    if config.plan is None:
        return {}, {}
    plan_set = read_plans(config.plan)
    refuse_other_steps(config.plan, plan_set, student_steps=1)
    if plan_set.num_steps != config.num_steps:
        raise ValueError(
            f"{config.plan}: the plans have {plan_set.num_steps} steps, but --num-steps is "
            f"{config.num_steps}"
        )
    refuse_other_schedule(config.plan, plan_set, schedule)
    if plan_set.budget == "best_split":
        raise ValueError(
            f"{config.plan}: plans for the budget best_split, whose merges train unequally long, "
            "but here all merges of a plan train equally long; plan again with plan_merges "
            "--budget total"
        )
    joint = [name for name in JOINT_SOLVERS if name in plan_set.strategies]
    if not joint:
        raise ValueError(f"{config.plan}: has no joint plan ({', '.join(JOINT_SOLVERS)})")
    return {joint[0]: plan_set.plans[joint[0]][:1]}, {"plan": sha256(config.plan)}


def open_setting(config: NeuralConfig, inputs: Inputs) -> Setting:
    """Train the teachers, or load them from the run folder, and let them make their outputs.

    Raises:
        FloatingPointError: a teacher's weights are not finite.
        OSError, ValueError: the file of the teachers cannot be read or written.
    """
    schedule = inputs.schedule
    if inputs.estimator is not None:
        members: X0Network = inputs.estimator
    else:
        members = _trained_teachers(config, inputs, schedule).repeated(config.seeds)
    members = members.to(inputs.device).requires_grad_(False)
    dim = len(inputs.variances)
    noise = seeded_noise(bank_seeds(config.seed, config.noises), dim).to(inputs.device)
    steps = [DenoiserJump(members, schedule, t, t - 1) for t in range(config.num_steps, 0, -1)]
    count = config.num_teachers * config.seeds
    with torch.no_grad():
        outputs = apply_jumps(steps, noise.expand(count, -1, -1))
    return Setting(config, inputs, schedule, members, Reference(noise, outputs))


def _trained_teachers(config: NeuralConfig, inputs: Inputs, schedule: NoiseSchedule) -> MLPs:
    def generators(purpose: int) -> list[torch.Generator]:
        numbers = range(config.num_teachers)
        return [keyed_generator(config.seed, purpose, number) for number in numbers]

    assert config.prediction != "eps"  # the config refuses it
    dim = len(inputs.variances)
    blank = generators(TEACHER_WEIGHTS)
    teachers = MLPs(dim, config.width, config.depth, config.prediction, blank)
    path = config.out / TEACHERS_FILE
    if not path.exists():
        with tqdm(total=config.teacher_steps, unit="step", desc="teachers") as bar:
            train_teachers(
                teachers,
                inputs.draw,
                schedule,
                TEACHER_BATCHES * config.batch_size,
                config.teacher_steps,
                generators(TEACHER_DATA),
                bar.update,
            )
        _refuse_not_finite(teachers)
        write_tensors(path, teachers.state_dict(), {"kind": TEACHERS_KIND})
    tensors, _ = read_tensors(path, TEACHERS_KIND, "remove it to train them again")
    with reading(path, "the teachers of this run", "remove it to train them again"):
        teachers.load_state_dict(check_weights(tensors, teachers.state_dict()))
    return teachers


def _refuse_not_finite(teachers: MLPs) -> None:
    if not all(weight.isfinite().all() for weight in teachers.parameters()):
        raise FloatingPointError(
            "a teacher diverged while it was trained; try smaller --variances or --width"
        )
