"""A finished comparison: all its students, and what it takes to decode them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusion.gaussian import check_variances
from diffusion.schedule import cosine_schedule
from distill.config import BUDGETS
from distill.jobs import Case
from distill.stages import Stage, read_stages
from distill.students import Students, load_students
from planner.plan_file import PlanSet, refuse_unsafe_name
from planner.problem import Problem, pose
from reading.files import expect, field, number, reading, whole
from vae.checkpoint import load_vae, weights_path
from vae.device import pick_device
from vae.files import sha256
from vae.latents import Latents
from vae.model import VAE
from vae.run_folder import CONFIG, read_run
from vae.tensors import fact, pick, read_tensors, write_tensors

KIND = "mergelab comparison, format 2"
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
        "kind": KIND,
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
    found = read_index(index)
    record = read_run(run)
    config = record["config"]
    with reading(run / CONFIG, "one of compare_strategies", RUN_AGAIN):
        num_steps = whole(config, "num_steps", least=1)
        inputs, lr = field(config, "inputs", str), number(config, "lr", least=0.0)
        seed = whole(config, "seed")
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
        problem=pose(cosine_schedule(num_steps), found.covariance.diagonal().numpy()),
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


def read_index(path: Path) -> Index:
    """What ``save_index`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable or damaged.
    """
    tensors, facts = read_tensors(path, KIND)
    with reading(path, "a whole index of a comparison", RUN_AGAIN):
        mean = pick(tensors, "mean", torch.float64, (None,))
        covariance = pick(tensors, "covariance", torch.float64, (len(mean), len(mean)))
        check_variances(covariance.diagonal().numpy())
        listed = expect(json.loads(fact(facts, "cases")), list, "cases")
        jobs = {_case(case): field(case, "job", str) for case in listed}
        for job in jobs.values():
            refuse_unsafe_name(job)
        return Index(mean, covariance, jobs, fact(facts, "data_fingerprint"))


def _case(found: object) -> Case:
    budget = next((known for known in BUDGETS if known == field(found, "budget", str)), None)
    if budget is None:
        raise ValueError(f"a case's budget is none of {', '.join(BUDGETS)}")
    strategy = field(found, "strategy", str)
    return Case(strategy, budget, whole(found, "epochs", least=1), whole(found, "seed"))
