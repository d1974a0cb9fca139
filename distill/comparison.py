"""A finished comparison: all its students, and what it takes to decode them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from diffusion.schedule import cosine_schedule
from distill.jobs import Case
from distill.stages import Stage, read_stages
from distill.students import Students, load_students
from planner.plan_file import PlanSet
from planner.problem import Problem, pose
from vae.checkpoint import load_vae, weights_path
from vae.device import pick_device
from vae.files import read_tensors, sha256, write_tensors
from vae.latents import Latents
from vae.model import VAE
from vae.run_folder import read_run

KIND = "mergelab comparison, format 2"
INDEX_NAME = "comparison.safetensors"
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
    data_fingerprint: str  # of the images behind the latents

    def of_stage(self, stage: Stage, seed: int) -> dict[str, Students]:
        """Strategy -> students."""
        return {
            case.strategy: students
            for case, students in self.students.items()
            if (case.budget, case.epochs) == stage and case.seed == seed
        }


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
    if not index.is_file():
        raise FileNotFoundError(
            f"{index}: no such file; {run} is no finished run of compare_strategies"
        )
    tensors, facts = read_tensors(index, KIND)
    record = read_run(run)
    config = record["config"]
    named = record["paths"].get("vae")
    weights = weights_path(vae or (Path(named) if named else None))
    model = load_vae(weights).to(pick_device(device_name))
    if sha256(weights) != record["inputs"]["vae"]:
        raise ValueError(f"{weights}: not the VAE of {run}; give --vae the one it was run with")
    jobs = {Case(**case): job for case in json.loads(facts["cases"]) if (job := case.pop("job"))}
    loaded = {job: load_students(students_path(run, job)) for job in dict.fromkeys(jobs.values())}
    stages = list(dict.fromkeys((case.budget, case.epochs) for case in jobs))
    return Comparison(
        problem=pose(
            cosine_schedule(config["num_steps"]), tensors["covariance"].diagonal().numpy()
        ),
        students={case: loaded[job] for case, job in jobs.items()},
        plans=read_stages(run / PLANS, stages),
        mean=tensors["mean"],
        covariance=tensors["covariance"],
        model=model,
        inputs=config["inputs"],
        lr=config["lr"],
        data_fingerprint=facts["data_fingerprint"],
    )
