"""All face grids of a comparison, one a stage."""

from pathlib import Path

from distill.compare import Comparison
from distill.decode import decode_operator, noise_bank, pixel_l2
from report.faces import draw_faces


def draw_grids(
    folder: Path, comparison: Comparison, seed: int, first: int, columns: int
) -> list[Path]:
    """Decode ``columns`` images of the noise bank under every strategy; returns the files."""
    z_T = noise_bank(seed, first, columns, len(comparison.mean))
    model, mean, problem = comparison.model, comparison.mean, comparison.problem
    teacher = decode_operator(model, problem.surrogate, mean, z_T)
    paths = []
    for epochs in dict.fromkeys(students.epochs for students in comparison.students):
        decoded = {
            students.strategy: decode_operator(model, students.operator, mean, z_T)
            for students in comparison.students
            if students.epochs == epochs
        }
        distances = {name: pixel_l2(images, teacher) for name, images in decoded.items()}
        path = folder / f"faces_{epochs:05d}_epochs.png"
        title = f"One-step students, T = {problem.schedule.num_steps}, {epochs} epochs a merge"
        draw_faces(path, teacher, decoded, distances, title)
        paths.append(path)
    return paths
