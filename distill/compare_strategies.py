"""The command compare_strategies: students of every strategy, at every stage and for every seed.

Each plan and each student is kept in the run folder as soon as it is computed, so a run that was
stopped resumes there. Within one call, results are kept in memory and not read back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch

from diffusion.schedule_choice import choose_schedule, schedule_fingerprint
from distill.comparison import (
    Comparison,
    Store,
    save_index,
)
from distill.config import ROTATION_FILE, CompareConfig, Engine, Rotate
from distill.coordinates import choose_coordinates, save_rotation
from distill.executors import default_workers, do_jobs, open_executor
from distill.jobs import Case, Job, Students, Training, list_jobs, plan_stage
from distill.law import refuse_unstable
from experiment.device import pick_device
from experiment.folder import open_run
from experiment.progress import tqdm
from experiment.track import Show, open_tracker
from experiment.write import sha256
from planner.budget import Stage, k_suffix
from planner.plan_file import read_plans_for, refuse_equal_shares
from planner.plan_set import PER_DIMENSION, PlanSet
from planner.problem import Problem, make_problem
from vae.checkpoint import load_vae
from vae.latents import (
    Latents,
    find_decoder,
    find_latents,
    latents_fingerprint,
    load_latents,
)

# Strategies that the planner finds. Its log explains a missing one.
EXPECTED = {"greedy", "beam", PER_DIMENSION}


def compare_strategies(config: CompareConfig) -> Comparison:
    """Train every strategy at every stage, except what an earlier run of this command trained.

    Raises:
        FileNotFoundError, ValueError: before anything is trained: files do not fit each other, the
        run folder is another run's, or the learning rate is unstable.
        FloatingPointError: a student diverged.
        OSError: a worker or the scheduler is lost; what is finished is kept.
    """
    device = pick_device(config.device)
    latents_file = find_latents(config.vae, config.latents)
    latents = load_latents(latents_file, print)
    weights = find_decoder(config.vae, latents, latents_file)
    model = None if weights is None else load_vae(weights).to(device)
    fingerprints = {"latents": latents_fingerprint(latents, latents_file)}
    if weights is not None:
        # refuse_mismatch has found the SHA-256 that the latents name to be that of the weights.
        fingerprints = {"vae": latents.vae_sha256 or sha256(weights)} | fingerprints
    rotation_file = config.out / ROTATION_FILE
    kept = (rotation_file, fingerprints["latents"])
    coordinates = choose_coordinates(latents, config.rotate, print, kept)
    is_rotated = coordinates.rotation is not None
    schedule = choose_schedule(config, config.num_steps)
    fingerprints |= schedule_fingerprint(config)
    problem = make_problem(schedule, coordinates.variances, config.students)
    inputs = _inputs(config.inputs, latents)
    training = Training(
        schedule=schedule,
        variances=tuple(problem.variances.tolist()),
        latents=(latents_file, fingerprints["latents"]) if inputs == "latents" else None,
        batch_size=config.batch_size,
        lr=config.lr,
        engine=_engine(config.engine, device),
        device=config.device,
        parametrisation=problem.parametrisation,
        rotation=rotation_file if is_rotated else None,
    )
    refuse_unstable(training.lr, problem)
    given = None
    if config.plan is not None:
        (student_steps,) = config.student_steps
        given = read_plans_for(config.plan, problem, student_steps=student_steps)
        refuse_equal_shares(config.plan, given, config.budgets)
        fingerprints["plan"] = sha256(config.plan)
    rotate: Rotate = "on" if is_rotated else "auto"
    recorded = replace(config, engine=training.engine, inputs=inputs, rotate=rotate)
    open_run(config.out, "compare_strategies", recorded, fingerprints, str(device))
    if is_rotated:
        save_rotation(rotation_file, coordinates, fingerprints["latents"])

    store = Store(config.out)
    plans = plan_stages(store, config.stages, problem, config.lr, given)
    strategies = {stage: plan_set.strategies for stage, plan_set in plans.items()}
    cases = list_jobs(strategies, config.seeds)
    jobs = list(dict.fromkeys(cases.values()))
    # Jobs that an earlier run finished are shown again, so nothing that it showed stays.
    with open_tracker(config.track, config.out, config, 0, "gradient_steps") as show:
        show_job = partial(_show, show, problem, cases)
        students = train_jobs(store, training, jobs, config.workers, config.scheduler, show_job)
    covariance_stays = latents.vae_sha256 is not None and not is_rotated
    variances = None if covariance_stays else torch.from_numpy(problem.variances.copy())
    names = {case: job.name for case, job in cases.items()}
    save_index(config.out, latents, schedule, names, variances)
    return Comparison(
        problem=problem,
        students={case: students[job] for case, job in cases.items()},
        plans=plans,
        mean=latents.mean,
        covariance=latents.covariance,
        model=model,
        inputs=inputs,
        lr=config.lr,
        seed=config.seed,
        data_fingerprint=latents.data_fingerprint,
        rotation=coordinates.rotation,
        gaussianity=coordinates.gaussianity,
    )


def plan_stages(
    store: Store, stages: Sequence[Stage], problem: Problem, lr: float, given: PlanSet | None
) -> dict[Stage, PlanSet]:
    """The plans of every stage, each kept in the run folder.

    Args:
        given: Plans to take at every stage instead of planning.

    Raises:
        ValueError, OSError: plans that an earlier run kept are damaged, or cannot be read.
    """
    plans = {}
    with tqdm(stages, desc="plan", unit="stage") as bar:
        for stage in bar:
            kept = store.kept_plans(stage, problem)
            if kept is not None:
                plans[stage] = kept
                continue
            lines: list[str] = []
            plans[stage] = given or plan_stage(stage, problem, lr, lines.append)
            missing = EXPECTED - plans[stage].strategies.keys()
            if missing and given is None:
                bar.write(f"{stage.name}, without {', '.join(sorted(missing))}:")
                bar.write("\n".join(lines))
            store.keep_plans(stage, plans[stage])
    return plans


def _show(
    show: Show, problem: Problem, cases: Mapping[Case, Job], job: Job, students: Students
) -> None:
    """Show the error of a job's students for every case that needs them.

    A point per training length is all that is known without making a GPU wait: no loss is read
    while a student trains.
    """
    for case in (case for case, own in cases.items() if own is job):
        where = f"{case.strategy}_{case.stage.budget}{k_suffix(case.stage.student_steps)}"
        error = float(problem.distance(students.operator, problem.target))
        show({f"{where}/w2_squared_seed{case.seed}": error}, students.gradient_steps, None)


def train_jobs(
    store: Store,
    training: Training,
    jobs: Sequence[Job],
    workers: int | None,
    scheduler: str | None,
    show: Callable[[Job, Students], object] = lambda job, students: None,
) -> dict[Job, Students]:
    """The students of every job, each kept in the run folder as soon as it is trained.

    Args:
        show: Called with every job and its students, those of an earlier run first.

    Raises:
        FloatingPointError: a student diverged.
        ValueError, OSError: students that an earlier run kept are damaged, or cannot be read; or
            a worker or the scheduler is lost.
    """
    width = len(training.variances)
    kept = {job: store.kept_students(job.name, width) for job in jobs}
    found = {job: students for job, students in kept.items() if students is not None}
    for job, students in found.items():
        show(job, students)
    missing = [job for job in jobs if job not in found]
    if not missing:
        return found
    workers = min(workers or default_workers(training), len(missing))
    total = sum(job.sequential_steps for job in missing)
    with (
        open_executor(scheduler, workers, training.device) as executor,
        tqdm(total=total, desc="train", unit="step", unit_scale=True) as bar,
    ):
        by_step = training.engine == "sgd" and executor is None
        for job, students in do_jobs(training, missing, executor, bar.update):
            store.keep_students(job.name, students)
            found[job] = students
            show(job, students)
            bar.set_postfix_str(f"{job.name} done")
            if not by_step:
                bar.update(job.sequential_steps)
    return found


def _engine(asked: Literal["auto"] | Engine, device: torch.device) -> Engine:
    """The engine that is used, with ``auto`` resolved."""
    if asked == "auto":
        return "sgd" if device.type == "cuda" else "closed_form"
    return asked


def _inputs(
    asked: Literal["auto", "gaussian", "latents"], latents: Latents
) -> Literal["gaussian", "latents"]:
    """The inputs that are used, with ``auto`` resolved."""
    if asked == "latents" and latents.codes is None:
        raise ValueError("--inputs latents needs --latents with the codes of images, not moments")
    if asked == "auto":
        return "gaussian" if latents.codes is None else "latents"
    return asked
