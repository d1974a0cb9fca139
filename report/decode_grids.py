"""The face grids of a comparison, one per budget and stage ([OM] Figs. 15-19)."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from distill.comparison import INDEX_NAME, Comparison, open_comparison
from distill.config import RECORDED_STEPS
from distill.decode import decode_operator, noise_bank, pixel_l2
from experiment.folder import FIGURES, RESULTS, only_writer, open_run
from experiment.write import sha256, write_rows
from planner.budget import Stage
from report.config import DecodeConfig
from report.faces import draw_faces
from report.style import stage_in_file_name, stage_label
from report.summary import write_summary


@dataclass(frozen=True, eq=False)
class Grid:
    """One picture, and what it shows in numbers."""

    path: Path
    distances: dict[str, Tensor]  # strategy -> pixel L2 to the target's faces, (columns,)


@dataclass(frozen=True)
class FaceRow:
    """A row of ``results.csv``: one face of one strategy and stage."""

    budget: str
    steps_per_merge: int = field(metadata=RECORDED_STEPS)
    strategy: str
    face: int  # the face's number in the noise bank
    pixel_l2: float  # distance to the target's face
    student_steps: int  # K


def decode_grids(config: DecodeConfig) -> None:
    """Reopen a comparison, decode the faces asked for, draw them and write a summary.

    Raises:
        FileNotFoundError, OSError, ValueError: the comparison or the run folder cannot be used.
    """
    comparison = open_comparison(config.run, config.vae, config.device)
    stages = _stages(config, comparison)
    seed = comparison.seed if config.seed is None else config.seed
    faces = f"seed{seed}_first{config.first}_columns{config.columns}"
    out = config.out or config.run / "grids" / faces
    # ``scripts.cli`` holds the folder that --out names; without --out its name is known only here.
    with nullcontext() if config.out else only_writer(out):
        _draw_into(out, config, comparison, stages, seed)


def _stages(config: DecodeConfig, comparison: Comparison) -> list[Stage]:
    """The stages with the asked numbers of student steps."""
    known = list(dict.fromkeys(stage.student_steps for stage in comparison.plans))
    asked = known if config.student_steps is None else config.student_steps
    for steps in asked:
        if steps not in known:
            raise ValueError(
                f"--student-steps {steps}: {config.run} has students of K = "
                f"{', '.join(map(str, known))}; give one of these, or run compare_strategies "
                f"--student-steps {steps}"
            )
    return [stage for stage in comparison.plans if stage.student_steps in asked]


def _draw_into(
    out: Path, config: DecodeConfig, comparison: Comparison, stages: Sequence[Stage], seed: int
) -> None:
    inputs = {"comparison": sha256(config.run / INDEX_NAME)}
    open_run(out, "decode_grids", config, inputs, str(next(comparison.model.parameters()).device))
    grids = draw_grids(out / FIGURES, comparison, stages, seed, config.first, config.columns)
    rows = [
        FaceRow(
            stage.budget,
            stage.steps_per_merge,
            strategy,
            config.first + i,
            distance,
            stage.student_steps,
        )
        for stage, grid in grids.items()
        for strategy, distances in grid.distances.items()
        for i, distance in enumerate(distances.tolist())
    ]
    write_rows(out / RESULTS, rows, FaceRow)
    last = config.first + config.columns - 1
    text = f"Faces {config.first} to {last} of noise bank {seed}, from the comparison {config.run}."
    pictures = [grid.path for grid in grids.values()]
    write_summary(out, "Faces of every strategy", text, pictures, [out / RESULTS])


def draw_grids(
    folder: Path,
    comparison: Comparison,
    stages: Iterable[Stage],
    seed: int,
    first: int,
    columns: int,
) -> dict[Stage, Grid]:
    """Decode and draw ``columns`` images of the noise bank under every strategy of these stages.

    Where a run has several seeds of batches, the students of the first are shown.
    """
    z_T = noise_bank(seed, first, columns, len(comparison.mean))
    model, mean, problem = comparison.model, comparison.mean, comparison.problem
    target = decode_operator(model, problem.target, mean, z_T)
    num_steps = problem.schedule.num_steps
    batches = next(iter(comparison.students)).seed
    grids = {}
    for stage in stages:
        decoded: dict[str, Tensor] = {
            strategy: decode_operator(model, students.operator, mean, z_T)
            for strategy, students in comparison.of_stage(stage, batches).items()
        }
        distances = {name: pixel_l2(images, target) for name, images in decoded.items()}
        path = folder / f"faces_{stage_in_file_name(stage, num_steps)}.png"
        kind = "One-step students" if stage.student_steps == 1 else "Students"
        title = f"{kind}, T = {num_steps}, {stage_label(stage, num_steps)}"
        draw_faces(path, target, decoded, distances, title, problem.parametrisation.target)
        grids[stage] = Grid(path, distances)
    return grids
