"""The main job: students of every strategy, stage, budget and seed, each saved as it is trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from diffusion.schedule import cosine_schedule
from distill.comparison import (
    PLANS,
    Comparison,
    open_comparison,
    save_index,
    save_students,
    students_path,
)
from distill.config import CompareConfig
from distill.engines import Engine, Training
from distill.executors import default_workers, do_jobs, open_executor
from distill.jobs import Job, list_jobs
from distill.law import refuse_unstable
from distill.stage_plans import plan_stages, read_plan_set
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.write import sha256
from planner.problem import make_problem
from vae.checkpoint import embedded_vae, load_vae, weights_path
from vae.latents import LATENTS_FILE, Latents, latents_path, load_latents, refuse_mismatch


def compare_strategies(config: CompareConfig) -> Comparison:
    """Train every strategy at every stage, or load what an earlier run of this command trained.

    Raises:
        FileNotFoundError, ValueError: files do not fit each other, the run folder is another
            run's, or the learning rate is unstable; before anything is trained.
        FloatingPointError: a student diverged.
        OSError: a worker or the scheduler is lost; what is finished is kept.
    """
    device = pick_device(config.device)
    weights, latents_file = find_inputs(config.vae, config.latents)
    load_vae(weights)  # a damaged one is told before anything is trained
    latents = load_latents(latents_file)
    refuse_mismatch(latents, latents_file, weights)
    problem = make_problem(cosine_schedule(config.num_steps), latents.variances.numpy())
    engine = _engine(config, device)
    config = replace(config, engine=engine, inputs=_inputs(config, latents))  # what is recorded
    refuse_unstable(config.lr, problem.second_moments, problem.variances)
    fingerprints = {"vae": sha256(weights), "latents": sha256(latents_file)}
    if config.plan is not None:
        read_plan_set(config.plan, problem.operators.shape)
        fingerprints["plan"] = sha256(config.plan)
    open_run(config.out, "compare_strategies", config, fingerprints, str(device))

    stages = [(budget, epochs) for budget in config.budgets for epochs in config.epochs]
    plans = plan_stages(config.out / PLANS, stages, problem, config.lr, config.plan)
    by_name = {stage: plan_set.plans for stage, plan_set in plans.items()}
    cases = list_jobs(by_name, range(config.seed, config.seed + config.num_seeds))
    training = Training(
        num_steps=config.num_steps,
        variances=tuple(problem.variances.tolist()),
        latents=(latents_file, fingerprints["latents"]) if config.inputs == "latents" else None,
        batch_size=config.batch_size,
        lr=config.lr,
        engine=engine,
        device=config.device,
    )
    _train_missing(config, training, list(dict.fromkeys(cases.values())))
    save_index(config.out, latents, {case: job.name for case, job in cases.items()})
    return open_comparison(config.out, config.vae, config.device)


def _train_missing(config: CompareConfig, training: Training, jobs: Sequence[Job]) -> None:
    """Do the jobs whose students are not in the run folder yet, and keep theirs there."""
    missing = [job for job in jobs if not students_path(config.out, job.name).exists()]
    if not missing:
        return
    workers = min(config.workers or default_workers(training), len(missing))
    total = sum(job.num_updates for job in missing)
    with (
        open_executor(config.scheduler, workers) as executor,
        tqdm(total=total, desc="train", unit="step", unit_scale=True) as bar,
    ):
        by_step = training.engine == "sgd" and executor is None
        for job, students in do_jobs(training, missing, executor, bar.update):
            save_students(students_path(config.out, job.name), students)
            bar.set_postfix_str(f"{job.name} done")
            if not by_step:
                bar.update(job.num_updates)


def find_inputs(vae: Path | None, latents: Path | None) -> tuple[Path, Path]:
    """Files of the VAE's weights and of the latents; the embedded ones where None is given.

    Raises:
        ValueError: latents of another VAE would be needed.
    """
    weights = weights_path(vae)
    if latents is not None:
        return weights, latents_path(latents)
    if vae is not None:
        raise ValueError(
            f"--vae {vae} needs --latents encoded by it: python -m scripts.encode_latents"
        )
    return weights, embedded_vae().with_name(LATENTS_FILE)


def _engine(config: CompareConfig, device: torch.device) -> Engine:
    """The engine asked for, ``auto`` decided."""
    if config.engine == "auto":
        return "sgd" if device.type == "cuda" else "exact"
    return config.engine


def _inputs(config: CompareConfig, latents: Latents) -> Literal["gaussian", "latents"]:
    """The inputs asked for, ``auto`` decided."""
    if config.inputs == "latents" and latents.codes is None:
        raise ValueError("--inputs latents needs --latents with the codes of images, not moments")
    if config.inputs == "auto":
        return "gaussian" if latents.codes is None else "latents"
    return config.inputs
