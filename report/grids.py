"""All face grids of a comparison, one a budget and stage ([OM] Figs. 15-19)."""

from pathlib import Path

import torch

from distill.comparison import INDEX_NAME, Comparison, open_comparison
from distill.config import DecodeConfig
from distill.decode import decode_operator, noise_bank, pixel_l2
from distill.stages import Stage, stage_name
from report.faces import draw_faces
from report.style import stage_label
from report.summary import conclude
from vae.files import sha256
from vae.run_folder import FIGURES, open_run


def decode_grids(config: DecodeConfig) -> None:
    """Reopen a comparison, decode the faces asked for, draw and sum up.

    Raises:
        FileNotFoundError, OSError, ValueError: the comparison or the run folder will not do.
    """
    comparison = open_comparison(config.run, config.vae, config.device)
    seed = comparison.seed if config.seed is None else config.seed
    faces = f"seed{seed}_first{config.first}_columns{config.columns}"
    out = config.out or config.run / "grids" / faces
    inputs = {"comparison": sha256(config.run / INDEX_NAME)}
    open_run(out, "decode_grids", config, inputs, str(next(comparison.model.parameters()).device))
    paths = draw_grids(out / FIGURES, comparison, seed, config.first, config.columns)
    last = config.first + config.columns - 1
    text = f"Faces {config.first} to {last} of noise bank {seed}, of the comparison {config.run}."
    conclude(out, "Faces of every strategy", text, list(paths.values()))


def draw_grids(
    folder: Path, comparison: Comparison, seed: int, first: int, columns: int
) -> dict[Stage, Path]:
    """Decode ``columns`` images of the noise bank under every strategy; returns the files.

    Where a run has several seeds of batches, the students of the first are shown.
    """
    z_T = noise_bank(seed, first, columns, len(comparison.mean))
    model, mean, problem = comparison.model, comparison.mean, comparison.problem
    teacher = decode_operator(model, problem.surrogate, mean, z_T)
    num_steps = problem.schedule.num_steps
    batches = next(iter(comparison.students)).seed
    paths = {}
    for stage in comparison.plans:
        decoded: dict[str, torch.Tensor] = {
            strategy: decode_operator(model, students.operator, mean, z_T)
            for strategy, students in comparison.of_stage(stage, batches).items()
        }
        distances = {name: pixel_l2(images, teacher) for name, images in decoded.items()}
        paths[stage] = folder / f"faces_{stage_name(stage)}.png"
        title = f"One-step students, T = {num_steps}, {stage_label(stage, num_steps)}"
        draw_faces(paths[stage], teacher, decoded, distances, title)
    return paths
