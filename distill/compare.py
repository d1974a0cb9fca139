"""The main job: students under every strategy and stage, each saved as soon as it is trained."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from distill.config import CompareConfig
from distill.inputs import Inputs, gaussian_inputs, latent_inputs
from distill.law import refuse_unstable, sgd_shrinkage, simulate_operators
from distill.problem import Problem, plan_strategies, pose, read_strategies
from distill.students import Students, load_students, save_students, students_file
from distill.train import count_fits, train_students
from planner.plan import Plan, merges, rounds
from planner.value import per_dimension_operator, w2_squared
from vae.checkpoint import embedded_vae, load_vae, weights_path
from vae.device import pick_device
from vae.files import read_tensors, sha256, write_tensors
from vae.latents import FILE_NAME, Latents, latents_path, load_latents, refuse_mismatch
from vae.model import VAE
from vae.run_folder import open_run, read_run

SIMULATED_RUNS = 200
INDEX_KIND = "mergelab comparison, format 1"
INDEX_NAME = "comparison.safetensors"


@dataclass(frozen=True, eq=False)
class Comparison:
    """All students of a run, with what it takes to decode them."""

    problem: Problem
    students: list[Students]  # stage by stage, strategies in one order
    mean: Tensor  # of the latents, (d,)
    covariance: Tensor  # of the latents, (d, d); its diagonal poses the problem
    model: VAE
    inputs: str  # "gaussian" or "latents"


def compare(config: CompareConfig) -> Comparison:
    """Train every strategy at every stage, or load what an earlier run of this command trained.

    Raises:
        FileNotFoundError, ValueError: files do not fit each other, the run folder is another
            run's, or the learning rate is unstable; before anything is trained.
        FloatingPointError: a student diverged.
    """
    device = pick_device(config.device)
    weights, latents_file = find_inputs(config.vae, config.latents)
    model = load_vae(weights).to(device)
    latents = load_latents(latents_file)
    refuse_mismatch(latents, latents_file, weights)
    problem = pose(config.num_steps, latents.variances.numpy())
    kind = _kind_of_inputs(config, latents)
    inputs = _inputs(config, problem, latents, kind)
    refuse_unstable(config.lr, inputs.second_moments, problem.variances)
    fingerprints = {"vae": sha256(weights), "latents": sha256(latents_file)}
    given = None if config.plan is None else read_strategies(config.plan, problem)
    if config.plan is not None:
        fingerprints["plan"] = sha256(config.plan)
    open_run(config.out, "compare_strategies", config, fingerprints, str(device))

    students = []
    for epochs in config.epochs:
        shrinkage = sgd_shrinkage(inputs.second_moments, config.lr, epochs)
        for strategy, plans in (given or plan_strategies(problem, shrinkage)).items():
            path = config.out / "students" / students_file(strategy, epochs)
            if not path.exists():
                trained = _train(config, problem, inputs, strategy, plans, epochs, device)
                save_students(path.parent, trained)
            students.append(load_students(path))
    comparison = Comparison(problem, students, latents.mean, latents.covariance, model, kind)
    _save_index(config.out / INDEX_NAME, comparison)
    return comparison


def reopen(run: Path, vae: Path | None, device_name: str) -> Comparison:
    """Open a finished run again, to decode it anew.

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
    tensors, facts = read_tensors(index, INDEX_KIND)
    record = read_run(run)
    named = record["paths"].get("vae")
    weights = weights_path(vae or (Path(named) if named else None))
    model = load_vae(weights).to(pick_device(device_name))
    if sha256(weights) != record["inputs"]["vae"]:
        raise ValueError(f"{weights}: not the VAE of {run}; give --vae the one it was run with")
    files = [run / "students" / name for name in facts["students"].split("\n")]
    return Comparison(
        problem=pose(record["config"]["num_steps"], tensors["covariance"].diagonal().numpy()),
        students=[load_students(path) for path in files],
        mean=tensors["mean"],
        covariance=tensors["covariance"],
        model=model,
        inputs=facts["inputs"],
    )


def _save_index(path: Path, comparison: Comparison) -> None:
    tensors = {"mean": comparison.mean, "covariance": comparison.covariance}
    files = [students.file_name() for students in comparison.students]
    facts = {"kind": INDEX_KIND, "inputs": comparison.inputs, "students": "\n".join(files)}
    write_tensors(path, tensors, facts)


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
    return weights, embedded_vae().with_name(FILE_NAME)


def _kind_of_inputs(config: CompareConfig, latents: Latents) -> str:
    if config.inputs == "latents" and latents.codes is None:
        raise ValueError("--inputs latents needs --latents with the codes of images, not moments")
    if config.inputs == "auto":
        return "gaussian" if latents.codes is None else "latents"
    return config.inputs


def _inputs(config: CompareConfig, problem: Problem, latents: Latents, kind: str) -> Inputs:
    if kind == "latents":
        x_0 = (latents.codes.double() - latents.mean).float()
        return latent_inputs(problem.schedule, x_0, config.batch_size, config.seed)
    return gaussian_inputs(problem.schedule, problem.variances, config.batch_size, config.seed)


def _train(
    config: CompareConfig,
    problem: Problem,
    inputs: Inputs,
    strategy: str,
    plans: tuple[Plan, ...],
    epochs: int,
    device: torch.device,
) -> Students:
    shrinkage = sgd_shrinkage(inputs.second_moments, config.lr, epochs)
    simulated = simulate_operators(
        plans, problem.operators, inputs, config.lr, epochs, SIMULATED_RUNS, config.seed
    )
    num_rounds = max(len(rounds(plan)) for plan in plans)
    started = time.perf_counter()
    label = f"{strategy}, {epochs} epochs"
    with tqdm(total=count_fits(plans) * epochs, desc=f"{label:36}", unit="step") as bar:
        operator = train_students(
            plans, problem.operators, inputs, epochs, config.lr, device, bar.update
        )
    return Students(
        strategy=strategy,
        epochs=epochs,
        merges=max(len(list(merges(plan))) for plan in plans),
        rounds=num_rounds,
        seconds=time.perf_counter() - started,
        operator=operator,
        predicted=per_dimension_operator(plans, problem.operators, shrinkage),
        expected=simulated.mean(axis=0),
        spread=simulated.std(axis=0, ddof=1),
        w2_squared_runs=w2_squared(simulated, problem.surrogate),
    )
