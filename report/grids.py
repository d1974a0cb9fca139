"""All face grids of a comparison, one a budget and stage ([OM] Figs. 15-19)."""

from pathlib import Path

import torch

from distill.comparison import Comparison
from distill.decode import decode_operator, noise_bank, pixel_l2
from distill.stages import Stage, stage_name
from report.faces import draw_faces
from report.style import stage_label


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
