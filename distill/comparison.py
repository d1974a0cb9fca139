"""A comparison on disk: trained students, the index that marks it as finished, reopening."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.gaussian import check_variances
from diffusion.schedule import cosine_schedule
from distill.jobs import Case
from distill.stage_plans import read_stages
from experiment.device import pick_device
from experiment.folder import CONFIG, read_run
from experiment.read import expect, field, finite_text, integer, number, reading
from experiment.tensors import (
    checked_tensor,
    metadata_integer,
    metadata_value,
    read_tensors,
    write_tensors,
)
from experiment.write import sha256
from planner.budget import Stage, budget_kind
from planner.plan_set import PlanSet, refuse_unsafe_name
from planner.problem import Problem, make_problem
from vae.checkpoint import load_vae, weights_path
from vae.latents import Latents
from vae.model import VAE

Array = NDArray[np.float64]
STUDENTS_KIND = "mergelab students, format 2"
_ARRAYS = ("operator", "predicted", "expected", "spread", "w2_squared_runs")


@dataclass(frozen=True, eq=False)
class Students:
    """The one-step student that one job of training ends with."""

    engine: str  # sgd or exact
    merges: int  # of the coordinate that makes most
    rounds: int  # of merges that wait for each other
    gradient_steps: int  # of all merges together, of the coordinate that takes most
    seconds: float  # of training
    operator: Array  # measured, (d,)
    predicted: Array  # closed form with the expected shrinkage, (d,)
    expected: Array  # mean over simulated runs, (d,)
    spread: Array  # standard deviation over simulated runs, (d,)
    w2_squared_runs: Array  # to the surrogate, of each simulated run


def save_students(path: Path, students: Students) -> None:
    """Write them, whole or not at all."""
    facts = asdict(students)
    tensors = {name: torch.from_numpy(facts.pop(name)) for name in _ARRAYS}
    metadata = {name: str(value) for name, value in facts.items()}
    write_tensors(path, tensors, {"kind": STUDENTS_KIND} | metadata)


def load_students(path: Path) -> Students:
    """Read what ``save_students`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable, damaged or incomplete.
    """
    tensors, metadata = read_tensors(path, STUDENTS_KIND)
    with reading(path, "whole students", "remove it and run again"):
        width = len(checked_tensor(tensors, "operator", torch.float64, (None,)))
        shapes = dict.fromkeys(_ARRAYS, (width,)) | {"w2_squared_runs": (None,)}
        found = {
            name: checked_tensor(tensors, name, torch.float64, shapes[name]) for name in _ARRAYS
        }
        for name in ("spread", "w2_squared_runs"):
            if (found[name] < 0).any():
                raise ValueError(f"{name} must be at least 0")
        if not width or len(found["w2_squared_runs"]) < 2:
            raise ValueError("no coordinate, or fewer than two simulated runs")
        return Students(
            engine=metadata_value(metadata, "engine"),
            merges=metadata_integer(metadata, "merges"),
            rounds=metadata_integer(metadata, "rounds"),
            gradient_steps=metadata_integer(metadata, "gradient_steps"),
            seconds=finite_text(metadata_value(metadata, "seconds"), "seconds", least=0.0),
            operator=found["operator"].numpy(),
            predicted=found["predicted"].numpy(),
            expected=found["expected"].numpy(),
            spread=found["spread"].numpy(),
            w2_squared_runs=found["w2_squared_runs"].numpy(),
        )


COMPARISON_KIND = "mergelab comparison, format 2"
INDEX_NAME = "comparison.safetensors"
RUN_AGAIN = "run its command again"
STUDENTS, PLANS = "students", "plans"  # folders


@dataclass(frozen=True, eq=False)
class Comparison:
    """Cases and students of a run, with latents and decoder."""

    problem: Problem
    students: dict[Case, Students]  # by seed, budget and stage; cases of one job share them
    plans: dict[Stage, PlanSet]
    mean: Tensor  # of the latents, (d,)
    covariance: Tensor  # of the latents, (d, d); its diagonal poses the problem
    model: VAE
    inputs: str  # gaussian or latents
    lr: float
    seed: int  # the first
    data_fingerprint: str  # of the images behind the latents

    def of_stage(self, stage: Stage, seed: int) -> dict[str, Students]:
        """Strategy -> students."""
        return {
            case.strategy: students
            for case, students in self.students.items()
            if (case.budget, case.epochs) == stage and case.seed == seed
        }


@dataclass(frozen=True, eq=False)
class Index:
    """What marks a run as finished: its latents' moments, and which job serves which case."""

    mean: Tensor  # (d,) float64
    covariance: Tensor  # (d, d) float64
    jobs: dict[Case, str]  # names
    data_fingerprint: str

    @property
    def stages(self) -> list[Stage]:
        """Of the cases, in their order."""
        return list(dict.fromkeys((case.budget, case.epochs) for case in self.jobs))


def students_path(run: Path, job_name: str) -> Path:
    """File of a job's students in a run folder."""
    return run / STUDENTS / f"{job_name}.safetensors"


def save_index(run: Path, latents: Latents, job_names: Mapping[Case, str]) -> None:
    """Mark a run as finished: its latents' moments, and which job serves which case."""
    cases = [asdict(case) | {"job": name} for case, name in job_names.items()]
    tensors = {"mean": latents.mean, "covariance": latents.covariance}
    facts = {
        "kind": COMPARISON_KIND,
        "data_fingerprint": latents.data_fingerprint,
        "cases": json.dumps(cases),
    }
    write_tensors(run / INDEX_NAME, tensors, facts)


def open_comparison(run: Path, vae: Path | None, device_name: str) -> Comparison:
    """Open a finished run.

    Args:
        vae: Its VAE, where that no longer lies where the run found it.

    Raises:
        FileNotFoundError, ValueError: the run is unfinished or damaged, or the VAE is another.
    """
    index = run / INDEX_NAME
    if not index.exists():
        raise FileNotFoundError(
            f"{index}: no such file; {run} is no finished run of compare_strategies"
        )
    found = read_comparison_index(index)
    record = read_run(run)
    config = record["config"]
    with reading(run / CONFIG, "one of compare_strategies", RUN_AGAIN):
        num_steps = integer(config, "num_steps", least=1)
        inputs, lr = field(config, "inputs", str), number(config, "lr", least=0.0)
        seed = integer(config, "seed")
        vae_sha256 = field(record["inputs"], "vae", str)
        named = field(record["paths"], "vae", str) if "vae" in record["paths"] else None
    weights = weights_path(vae or (Path(named) if named else None))
    model = load_vae(weights).to(pick_device(device_name))
    if sha256(weights) != vae_sha256:
        raise ValueError(f"{weights}: not the VAE of {run}; give --vae the one it was run with")
    plans = read_stages(run / PLANS, found.stages, (num_steps, len(found.mean)))
    loaded: dict[str, Students] = {}
    for case, job in found.jobs.items():
        path = students_path(run, job)
        if job not in loaded:
            loaded[job] = load_students(path)
        if len(loaded[job].operator) != len(found.mean):
            raise ValueError(f"{path}: of another number of coordinates; {RUN_AGAIN}")
        if case.strategy not in plans[case.budget, case.epochs].strategies:
            raise ValueError(f"{index}: no plan of {case.strategy} is kept; {RUN_AGAIN}")
    return Comparison(
        problem=make_problem(cosine_schedule(num_steps), found.covariance.diagonal().numpy()),
        students={case: loaded[job] for case, job in found.jobs.items()},
        plans=plans,
        mean=found.mean,
        covariance=found.covariance,
        model=model,
        inputs=inputs,
        lr=lr,
        seed=seed,
        data_fingerprint=found.data_fingerprint,
    )


def read_comparison_index(path: Path) -> Index:
    """What ``save_index`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable or damaged.
    """
    tensors, facts = read_tensors(path, COMPARISON_KIND)
    with reading(path, "a whole index of a comparison", RUN_AGAIN):
        mean = checked_tensor(tensors, "mean", torch.float64, (None,))
        covariance = checked_tensor(tensors, "covariance", torch.float64, (len(mean), len(mean)))
        check_variances(covariance.diagonal().numpy())
        listed = expect(json.loads(metadata_value(facts, "cases")), list, "cases")
        jobs = {_case(case): field(case, "job", str) for case in listed}
        for job in jobs.values():
            refuse_unsafe_name(job)
        return Index(mean, covariance, jobs, metadata_value(facts, "data_fingerprint"))


def _case(found: object) -> Case:
    return Case(
        strategy=field(found, "strategy", str),
        budget=budget_kind(field(found, "budget", str)),
        epochs=integer(found, "epochs", least=1),
        seed=integer(found, "seed"),
    )
