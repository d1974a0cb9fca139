"""The command export_student: a student of a comparison as files that need no mergelab.

A student of K steps is diagonal, so its steps multiply to one number a per coordinate. This
product is what a comparison keeps and measures, and what is exported:

    x_0 = mean + a * noise,  noise ~ N(0, I),  a = operator

Where the comparison rotated the latents by Q, the operator is the matrix Q diag(a) instead, (d, d).
Where the teacher starts from N(0, n_T), the factor sqrt(n_T) is part of a.

The points between the K steps are not needed to draw samples, so their operators are not exported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.comparison import INDEX_NAME, Comparison, open_comparison
from distill.config import ExportConfig
from distill.coordinates import Rotation
from distill.decode import decode_operator, noise_bank
from distill.jobs import Case, Students
from distill.student_loader import Student
from experiment.folder import CONFIG, open_run, read_run
from experiment.programs import write_program
from experiment.tensors import write_tensors
from experiment.write import as_recorded, sha256, write_text
from planner.problem import Problem
from vae.model import VAE

EXPORT_KIND = "mergelab exported student, format 1"
STUDENT_FILE, STUDENT_PROGRAM = "student.safetensors", "student.pt2"
LOADER_FILE, DECODER_PROGRAM = "student.py", "decoder.pt2"
FACES = 8  # decoded for the picture


@dataclass(frozen=True, eq=False)
class Export:
    """A student, what it is compared with, and the files that were written."""

    case: Case
    students: Students
    problem: Problem
    mean: NDArray[np.float64]
    """Mean of the latents, (d,)."""
    faces: dict[str, Tensor]
    """student, target -> images of the same noise, (FACES, 3, S, S)."""
    files: list[Path]


class Decoder(nn.Module):
    """Latents (B, d) -> images (B, 3, S, S) in [0, 1]."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """The decoder of the VAE."""
        return self.vae.decode(latents)


def export_student(config: ExportConfig) -> Export:
    """Write one student of a finished comparison, with its decoder, into ``config.out``.

    Raises:
        FileNotFoundError, OSError, ValueError: the comparison or the run folder cannot be used, or
            the flags name no student, or several.
    """
    if (config.run / CONFIG).is_file() and read_run(config.run)["job"] == "distill_neural":
        raise ValueError(
            f"--run {config.run}: is of distill_neural, which exports its students itself; repeat "
            "its command with --export"
        )
    comparison = open_comparison(config.run, config.vae, "cpu")
    _refuse_wide(config.run, comparison)
    case = find_case(config, list(comparison.students))
    fingerprint = sha256(config.run / INDEX_NAME)
    open_run(config.out, "export_student", config, {"comparison": fingerprint}, "cpu")

    students = comparison.students[case]
    facts = _facts(config.run, comparison, case) | {"comparison_sha256": fingerprint}
    files = [config.out / name for name in (STUDENT_FILE, LOADER_FILE, STUDENT_PROGRAM)]
    student, loader, program = files
    problem = comparison.problem
    on_noise = problem.on_unit_noise(students.operator)
    operator = _matrix(on_noise, comparison.rotation)
    tensors = {"mean": comparison.mean, "operator": torch.from_numpy(operator)}
    write_tensors(student, {name: value.float() for name, value in tensors.items()}, facts)
    write_text(loader, loader_text())
    width = len(comparison.mean)
    write_program(program, Student(str(student)), width)
    if comparison.model is not None:
        files.append(config.out / DECODER_PROGRAM)
        write_program(files[-1], Decoder(comparison.model), width)

    noise = noise_bank(comparison.seed, 0, FACES, width)
    target = problem.on_unit_noise(problem.target)
    shown = {"student": on_noise, problem.parametrisation.target: target}
    return Export(
        case=case,
        students=students,
        problem=problem,
        mean=comparison.mean.numpy(),
        faces={}
        if comparison.model is None
        else {
            name: decode_operator(
                comparison.model, operator, comparison.mean, noise, comparison.rotation
            )
            for name, operator in shown.items()
        },
        files=files,
    )


def _refuse_wide(run: Path, comparison: Comparison) -> None:
    rotation = comparison.rotation
    if rotation is not None and rotation.basis.shape[1] < len(rotation.basis):
        raise ValueError(
            f"{run}: a rotation of {len(rotation.basis):,} coordinates is too large a matrix to "
            "export; run compare_strategies --rotate off"
        )


def _matrix(operator: NDArray[np.float64], rotation: Rotation | None) -> NDArray[np.float64]:
    """a (d,), or Q diag(a) (d, d) for students that map noise to rotated latents."""
    return operator if rotation is None else rotation.back(np.diag(operator)).T


def loader_text() -> str:
    """The Python that reads an exported student."""
    return Path(__file__).with_name("student_loader.py").read_text(encoding="utf-8")


def find_case(config: ExportConfig, cases: Sequence[Case]) -> Case:
    """The one case that the flags describe.

    Raises:
        ValueError: the run has no such student, or several and the flags do not say which.
    """
    found = list(cases)
    for flag, asked, value_of in (
        ("--strategy", config.strategy, lambda case: case.strategy),
        ("--budget", config.budget, lambda case: case.stage.budget),
        ("--steps-per-merge", config.steps_per_merge, lambda case: case.stage.steps_per_merge),
        ("--student-steps", config.student_steps, lambda case: case.stage.student_steps),
        ("--seed", config.seed, lambda case: case.seed),
    ):
        known = list(dict.fromkeys(value_of(case) for case in found))
        among = ", ".join(map(str, known))
        if asked is None and len(known) > 1:
            raise ValueError(f"{flag} is missing: {config.run} has students of {among}; give one")
        if asked is not None and asked not in known:
            raise ValueError(f"{flag} {asked}: {config.run} has students of {among}; give one")
        found = [case for case in found if asked is None or value_of(case) == asked]
    (case,) = found
    return case


def _facts(run: Path, comparison: Comparison, case: Case) -> dict[str, str]:
    """What the file says about the student: names and values in text."""
    record = read_run(run)
    students, form = comparison.students[case], comparison.problem.parametrisation
    product = "*" if comparison.rotation is None else "@"
    facts = {
        "kind": EXPORT_KIND,
        "map": f"x_0 = mean + operator {product} noise, noise from N(0, I)",
        "strategy": case.strategy,
        "budget": case.stage.budget,
        "steps_per_merge": case.stage.steps_per_merge,
        "student_steps": case.stage.student_steps,
        "seed": case.seed,
        "schedule": comparison.problem.schedule.name,
        "num_steps": comparison.problem.schedule.num_steps,
        "parametrisation": form.kind,
        "loss": form.loss,
        "prediction": form.prediction,
        "lr": comparison.lr,
        "inputs": comparison.inputs,
        "engine": as_recorded(students)["engine"],
        "merges": students.merges,
        "gradient_steps": students.gradient_steps,
        "data_fingerprint": comparison.data_fingerprint,
        "vae_sha256": record["inputs"].get("vae", ""),
        "latents_sha256": record["inputs"].get("latents", ""),
        "git_commit": record["provenance"]["git_commit"] or "",
        "mergelab": record["provenance"]["versions"].get("mergelab", ""),
    }
    return {name: str(value) for name, value in facts.items()}
