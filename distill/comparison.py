"""A comparison in memory and in its run folder.

The folder keeps ``plans/``, one file per stage, ``students/``, one file per job, and an index,
which is written last and so marks the run as finished. A run that was stopped resumes from the
plans and students that it kept; ``open_comparison`` opens a finished one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.gaussian import check_variances
from diffusion.gaussianity import Gaussianity
from diffusion.schedule import TeacherSchedule, cosine_schedule
from distill.config import ROTATION_FILE, Engine
from distill.coordinates import Rotation, load_rotation
from distill.jobs import Case, Students
from experiment.device import pick_device
from experiment.folder import CONFIG, RUN_AGAIN, read_run
from experiment.read import expect, field, finite_text, integer, number, reading
from experiment.tensors import (
    checked_tensor,
    metadata_integer,
    metadata_value,
    read_tensors,
    write_tensors,
)
from experiment.write import as_recorded, sha256, write_text
from planner.budget import Stage, budget_kind
from planner.parametrisation import Parametrisation
from planner.plan_file import read_plans_for, read_student_steps, refuse_unsafe_name, to_json
from planner.plan_set import PlanSet
from planner.problem import Problem, make_problem
from vae.checkpoint import load_vae, weights_path
from vae.latents import Latents
from vae.model import VAE

Array = NDArray[np.float64]
STUDENTS_KIND = "mergelab students, format 2"
COMPARISON_KIND = "mergelab comparison, format 2"
INDEX_NAME = "comparison.safetensors"
STUDENTS, PLANS = "students", "plans"  # folders
REMOVE = "remove it and run again"
_ARRAYS = ("operator", "predicted", "expected", "spread", "w2_squared_runs")
_LEVELS = ("alpha", "sigma")  # arrays of the schedule
_ENGINES: dict[str, Engine] = {"sgd": "sgd", "exact": "closed_form"}  # by their recorded names


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a comparison found: students and plans, with the latents and their decoder."""

    problem: Problem
    students: dict[Case, Students]
    """By seed, then by stage. Cases of one job share their students."""
    plans: dict[Stage, PlanSet]
    mean: Tensor
    """Mean of the latents, (d,) float64."""
    covariance: Tensor | None
    """Covariance of the latents, (d, d) float64, where it is known. Its diagonal makes the problem
    unless the latents are rotated."""
    model: VAE | None
    """VAE that decodes the latents; None if their encoder is unknown."""
    inputs: str
    """What students trained on: gaussian or latents."""
    lr: float
    seed: int
    """The first seed of the run."""
    data_fingerprint: str
    """Fingerprint of the images that the latents encode, or of the file that holds the latents."""
    rotation: Rotation | None = None
    """Students map noise to rotated latents, and this is the rotation; None: to the latents."""
    gaussianity: Gaussianity | None = None
    """How far the latents are from what planning assumes; None for a reopened run."""

    def of_stage(self, stage: Stage, seed: int) -> dict[str, Students]:
        """Strategy -> students of one stage and seed."""
        return {
            case.strategy: students
            for case, students in self.students.items()
            if (case.stage, case.seed) == (stage, seed)
        }


@dataclass(frozen=True)
class Store:
    """Plans and students in a run folder, each kept there as soon as it is computed."""

    run: Path

    def plans_path(self, stage: Stage) -> Path:
        """File of a stage's plans."""
        return self.run / PLANS / f"{stage.name}.json"

    def students_path(self, job_name: str) -> Path:
        """File of a job's students."""
        return self.run / STUDENTS / f"{job_name}.safetensors"

    def kept_plans(self, stage: Stage, problem: Problem) -> PlanSet | None:
        """The plans of a stage, which must be for the students and the shape of ``problem``.

        Returns:
            None if none are kept.

        Raises:
            OSError, ValueError: they cannot be read, are damaged, or are for another problem.
        """
        path = self.plans_path(stage)
        if not path.exists():
            return None
        return read_plans_for(path, problem, REMOVE, stage.student_steps)

    def keep_plans(self, stage: Stage, plan_set: PlanSet) -> None:
        """Write the plans of a stage in the format of plans.json."""
        # Without indentation it is written ten times as fast: some plans are 128 times 31 merges.
        text = json.dumps(to_json(plan_set), allow_nan=False) + "\n"
        write_text(self.plans_path(stage), text)

    def kept_students(self, job_name: str, width: int) -> Students | None:
        """The students of a job with ``width`` coordinates, or None if none are kept.

        Raises:
            OSError, ValueError: they cannot be read, are damaged, or of another width.
        """
        path = self.students_path(job_name)
        return load_students(path, width) if path.exists() else None

    def keep_students(self, job_name: str, students: Students) -> None:
        """Write the students of a job."""
        save_students(self.students_path(job_name), students)


def save_students(path: Path, students: Students) -> None:
    """Write students, whole or not at all."""
    facts = as_recorded(students)
    tensors = {name: torch.from_numpy(facts.pop(name)) for name in _ARRAYS}
    metadata = {name: str(value) for name, value in facts.items()}
    write_tensors(path, tensors, {"kind": STUDENTS_KIND} | metadata)


def load_students(path: Path, width: int) -> Students:
    """Read what ``save_students`` wrote.

    Args:
        width: Number of coordinates d that the students must have.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable, damaged or incomplete, or of
            another number of coordinates.
    """
    tensors, metadata = read_tensors(path, STUDENTS_KIND, REMOVE)
    with reading(path, "whole students of this run", REMOVE):
        shapes = dict.fromkeys(_ARRAYS, (width,)) | {"w2_squared_runs": (None,)}
        found = {
            name: checked_tensor(tensors, name, torch.float64, shapes[name]).numpy()
            for name in _ARRAYS
        }
        for name in ("spread", "w2_squared_runs"):
            if (found[name] < 0).any():
                raise ValueError(f"{name} must be at least 0")
        if len(found["w2_squared_runs"]) < 2:
            raise ValueError("fewer than two simulated runs")
        engine = metadata_value(metadata, "engine")
        if engine not in _ENGINES:
            raise ValueError(f"engine must be one of {', '.join(_ENGINES)}, got {engine!r}")
        return Students(
            engine=_ENGINES[engine],
            merges=metadata_integer(metadata, "merges"),
            rounds=metadata_integer(metadata, "rounds"),
            gradient_steps=metadata_integer(metadata, "gradient_steps"),
            seconds=finite_text(metadata_value(metadata, "seconds"), "seconds", least=0.0),
            **found,
        )


@dataclass(frozen=True, eq=False)
class Index:
    """What marks a run as finished: the moments of its latents, and the job of each case."""

    mean: Tensor
    """(d,) float64."""
    variances: Tensor
    """Variances of the coordinates that students work in, (d,) float64."""
    covariance: Tensor | None
    """(d, d) float64; None where the latents are rotated, or come from an unknown encoder."""
    jobs: dict[Case, str]
    """Case -> name of the job that it needed."""
    data_fingerprint: str
    schedule: TeacherSchedule | None
    """None for the cosine schedule, which is not kept."""


def save_index(
    run: Path,
    latents: Latents,
    schedule: TeacherSchedule,
    jobs: Mapping[Case, str],
    variances: Tensor | None = None,
) -> None:
    """Mark a run as finished. Its schedule is kept too, as its file may be gone one day.

    Args:
        variances: Variances of the problem, (d,), if they are kept in place of the covariance: for
            rotated latents, and for latents of an unknown encoder, which may be wide.
        jobs: Case -> name of the job that it needed.
    """
    cases = [
        {
            "strategy": case.strategy,
            "budget": case.stage.budget,
            "epochs": case.stage.steps_per_merge,
            "seed": case.seed,
            "job": job,
        }
        | ({"student_steps": case.stage.student_steps} if case.stage.student_steps > 1 else {})
        for case, job in jobs.items()
    ]
    tensors = {"mean": latents.mean}
    if variances is not None:
        tensors["variances"] = variances
    else:
        assert latents.covariance is not None
        tensors["covariance"] = latents.covariance
    metadata = {
        "kind": COMPARISON_KIND,
        "data_fingerprint": latents.data_fingerprint,
        "cases": json.dumps(cases),
    }
    if schedule != cosine_schedule(schedule.num_steps):
        tensors |= {name: torch.from_numpy(getattr(schedule, name)) for name in _LEVELS}
        metadata["schedule"] = schedule.name
    write_tensors(run / INDEX_NAME, tensors, metadata)


def load_index(path: Path) -> Index:
    """Read what ``save_index`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable or damaged.
    """
    tensors, metadata = read_tensors(path, COMPARISON_KIND, RUN_AGAIN)
    with reading(path, "a whole index of a comparison", RUN_AGAIN):
        mean = checked_tensor(tensors, "mean", torch.float64, (None,))
        width, covariance = len(mean), None
        if "variances" in tensors:
            variances = checked_tensor(tensors, "variances", torch.float64, (width,))
        else:
            covariance = checked_tensor(tensors, "covariance", torch.float64, (width, width))
            variances = covariance.diagonal()
        check_variances(variances.numpy())
        listed = expect(json.loads(metadata_value(metadata, "cases")), list, "cases")
        jobs = {_case(case): field(case, "job", str) for case in listed}
        for job in jobs.values():
            refuse_unsafe_name(job)
        fingerprint = metadata_value(metadata, "data_fingerprint")
        return Index(mean, variances, covariance, jobs, fingerprint, _schedule(tensors, metadata))


def _schedule(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> TeacherSchedule | None:
    if "schedule" not in metadata:
        return None
    alpha, sigma = (
        checked_tensor(tensors, name, torch.float64, (None,)).numpy() for name in _LEVELS
    )
    return TeacherSchedule(alpha, sigma, metadata["schedule"])


def _case(found: object) -> Case:
    budget = budget_kind(field(found, "budget", str))
    return Case(
        strategy=field(found, "strategy", str),
        stage=Stage(budget, integer(found, "epochs", least=1), read_student_steps(found)),
        seed=integer(found, "seed"),
    )


def open_comparison(run: Path, vae: Path | None, device_name: str) -> Comparison:
    """Open a finished run.

    Args:
        vae: Its VAE, where the file no longer lies where the run found it.
        device_name: Device for the VAE, as ``--device`` names it.

    Raises:
        FileNotFoundError, ValueError: the run is unfinished or damaged, or the VAE is another.
    """
    path = run / INDEX_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; {run} is no finished run of compare_strategies"
        )
    index = load_index(path)
    record = read_run(run)
    with reading(run / CONFIG, "one of compare_strategies", RUN_AGAIN):
        config = record["config"]
        num_steps = integer(config, "num_steps", least=1)
        inputs, lr = field(config, "inputs", str), number(config, "lr", least=0.0)
        seed = integer(config, "seed")
        parametrisation = _parametrisation(config)
        has_vae = "vae" in record["inputs"]
        vae_sha256 = field(record["inputs"], "vae", str) if has_vae else None
        named = field(record["paths"], "vae", str) if "vae" in record["paths"] else None
        is_rotated = config.get("rotate") == "on"
    model = None
    if vae_sha256 is not None:
        weights = weights_path(vae or (Path(named) if named else None))
        model = load_vae(weights).to(pick_device(device_name))
        if sha256(weights) != vae_sha256:
            raise ValueError(f"{weights}: not the VAE of {run}; give --vae the one it was run with")
    rotation = load_rotation(run / ROTATION_FILE, len(index.mean))[0] if is_rotated else None

    schedule = index.schedule or cosine_schedule(num_steps)
    problem = make_problem(schedule, index.variances.numpy(), parametrisation)
    store, stages = Store(run), dict.fromkeys(case.stage for case in index.jobs)
    plans = {
        stage: read_plans_for(store.plans_path(stage), problem, REMOVE, stage.student_steps)
        for stage in stages
    }
    for case in index.jobs:
        if case.strategy not in plans[case.stage].strategies:
            raise ValueError(f"{path}: no plan of {case.strategy} is kept; {RUN_AGAIN}")
    students = {
        job: load_students(store.students_path(job), len(index.mean))
        for job in dict.fromkeys(index.jobs.values())
    }
    return Comparison(
        problem=problem,
        students={case: students[job] for case, job in index.jobs.items()},
        plans=plans,
        mean=index.mean,
        covariance=index.covariance,
        model=model,
        inputs=inputs,
        lr=lr,
        seed=seed,
        data_fingerprint=index.data_fingerprint,
        rotation=rotation,
    )


def _parametrisation(config: dict[str, object]) -> Parametrisation:
    """The parametrisation of a run by its recorded flags, which leave out defaults."""
    made = {"kind": "parametrisation", "loss": "loss", "prediction": "prediction"}
    given = {name: field(config, flag, str) for name, flag in made.items() if config.get(flag)}
    return Parametrisation(**given)  # type: ignore[arg-type]  # it checks them
