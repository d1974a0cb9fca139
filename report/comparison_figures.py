"""All figures of a comparison, with their captions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.comparison import Comparison
from distill.results import ResultRow
from planner.budget import Stage, k_suffix
from planner.plan_set import PER_DIMENSION
from planner.problem import Problem
from planner.regimes import plan_kinds
from planner.strategies import CANONICAL
from report.decode_grids import draw_grids, grid_pictures
from report.error_curves import draw_error_curves
from report.latents import MOST_CELLS, draw_latents, draw_variances
from report.page import Picture, Section
from report.plan_figures import ARCS, draw_few_step_arcs, draw_plan_arcs, draw_plan_kinds
from report.student_steps import draw_student_steps
from report.style import k_label, label, save_figure, stage_label
from vae.latents import describe

GRID_COLUMNS = 5


def draw_figures(
    folder: Path, comparison: Comparison, rows: Sequence[ResultRow], seed: int
) -> list[Section]:
    """Draw all figures, in the order of the page."""
    problem = comparison.problem
    target = problem.parametrisation.target
    num_steps = problem.schedule.num_steps
    curves = _draw_curves(folder, rows, problem, comparison.lr)
    plans = _draw_arcs(folder, comparison)
    batches = next(iter(comparison.students)).seed
    of_stage = {stage: comparison.of_stage(stage, batches) for stage in comparison.plans}
    kinds = {
        stage: plan_kinds(canonical, students[PER_DIMENSION].predicted)
        for stage, students in of_stage.items()
        if PER_DIMENSION in students
        and (canonical := {n: students[n].predicted for n in CANONICAL if n in students})
    }
    if kinds:
        plans.append(
            Picture(
                folder / "plan_kinds.png",
                "The canonical strategy whose error equals that of each dimension's own plan, at "
                "every stage. Hybrid: no strategy does. Grey: several strategies are equal within "
                "rounding, so that the choice does not matter.",
                "Strips of coloured cells under the sorted variances; "
                + "; ".join(f"{stage_label(s, num_steps)}: {_count(k)}" for s, k in kinds.items()),
            )
        )
        save_figure(draw_plan_kinds(problem.variances, kinds, num_steps), plans[-1].path)
    sections = [
        Section("Error over training", curves),
        Section("Plans", plans),
        Section("Latent spectrum", [_draw_latents(folder / "latents.png", comparison)]),
    ]
    if comparison.model is None:
        return sections
    drawn = draw_grids(folder, comparison, comparison.plans, seed, first=0, columns=GRID_COLUMNS)
    grids = grid_pictures(drawn, num_steps, target)
    return [*sections, Section("Decoded faces", grids)]


def _draw_latents(path: Path, comparison: Comparison) -> Picture:
    variances, is_rotated = comparison.problem.variances, comparison.rotation is not None
    which = "variances along the rotated coordinates" if is_rotated else "variances"
    span = f"from {variances.min():.3g} to {variances.max():.3g}"
    if comparison.covariance is None:
        save_figure(draw_variances(variances, is_rotated), path)
        return Picture(
            path,
            f"The {which} of the latents, sorted.",
            f"Bars of sorted {which} {span}",
        )
    facts = describe(comparison.covariance)
    rotated = variances if is_rotated else None
    save_figure(draw_latents(comparison.covariance.numpy(), facts, rotated), path)
    most = f", the {MOST_CELLS} largest" if len(variances) > MOST_CELLS else ""
    return Picture(
        path,
        f"Covariance of the latents, with dimensions sorted by variance{most}, and the {which} "
        "([OM] Fig. 14).",
        f"Heatmap of the latent covariance, {facts['off_diagonal_energy']:.0%} of its energy off "
        f"the diagonal, and sorted {which} {span}",
    )


def _draw_curves(
    folder: Path, rows: Sequence[ResultRow], problem: Problem, lr: float
) -> list[Picture]:
    """The error over training, one figure per K, and over K where there are several."""
    num_steps = problem.num_steps
    numbers = list(dict.fromkeys(row.student_steps for row in rows))
    pictures = []
    for steps in numbers:
        own = [row for row in rows if row.student_steps == steps]
        picture = Picture(
            folder / f"error_curves{k_suffix(steps)}.png",
            f"W2² over gradient steps{k_label(steps)}, {_panels_of(problem)}. Points are "
            "measured, solid lines are the closed form. Dots only lead the eye between the points "
            "of planned strategies, whose plan differs between stages. Strategies with equal "
            "values are drawn once. A triangle marks values below 1e-12, drawn at 1e-12.",
            "Log-log curves of W2 squared over gradient steps; " + _best_of_stages(own, num_steps),
        )
        save_figure(draw_error_curves(own, problem, lr), picture.path)
        pictures.append(picture)
    if len(numbers) > 1:
        target = problem.parametrisation.target
        picture = Picture(
            folder / "student_steps.png",
            "W2² over K, the steps of the student, at every training length. Points are measured "
            "values.",
            "Log-log curves of W2 squared over the steps of the student; "
            + _best_of_stages(rows, num_steps),
        )
        lines = [
            {
                name.replace(" steps ", " steps\n", 1): errors
                for name, errors in errors_by_steps(own, num_steps).items()
            }
            for budget in dict.fromkeys(row.budget for row in rows)
            if (own := [row for row in rows if row.budget == budget])
        ]
        save_figure(draw_student_steps(lines, target), picture.path)
        pictures.append(picture)
    return pictures


def errors_by_steps(
    rows: Sequence[ResultRow], num_steps: int
) -> dict[str, dict[str, dict[int, float]]]:
    """Budget and training length in words -> strategy -> K -> W2**2; empty for a single K."""
    if len({row.student_steps for row in rows}) == 1:
        return {}
    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        name = stage_label(row.stage._replace(student_steps=1), num_steps)
        errors = found.setdefault(name, {}).setdefault(row.strategy, {})
        errors[row.student_steps] = row.w2_squared
    return found


def _draw_arcs(folder: Path, comparison: Comparison) -> list[Picture]:
    """The plans of the shortest training: one figure per K, for K > 1 one per budget too."""
    problem, num_steps = comparison.problem, comparison.problem.num_steps
    first: dict[tuple[int, str], Stage] = {}
    for stage in comparison.plans:
        first.setdefault((stage.student_steps, stage.budget), stage)
    pictures = []
    one_step = [stage for (steps, _), stage in first.items() if steps == 1]
    if one_step:
        plans = {stage_label(stage, num_steps): comparison.plans[stage] for stage in one_step}
        picture = Picture(
            folder / "plan_arcs.png",
            ARCS,
            "Plans as arcs over the teacher's time axis: canonical strategies"
            + "".join(f", then those planned for {name}" for name in plans),
        )
        save_figure(draw_plan_arcs(plans, problem.variances), picture.path)
        pictures.append(picture)
    for (steps, budget), stage in first.items():
        if steps > 1:
            title = stage_label(stage, num_steps)
            picture = Picture(
                folder / f"plan_arcs{k_suffix(steps)}_{budget}.png",
                f"{ARCS} Plans for {title}; vertical lines part the steps of the student.",
                f"Plans as arcs over the teacher's time axis, for {title}",
            )
            save_figure(draw_few_step_arcs(comparison.plans[stage], title), picture.path)
            pictures.append(picture)
    return pictures


def _panels_of(problem: Problem) -> str:
    if problem.parametrisation.target == "composite":
        return "to the composite"
    return "to the surrogate (top) and to the composite (bottom)"


def _best_of_stages(rows: Sequence[ResultRow], num_steps: int) -> str:
    texts = []
    for stage in dict.fromkeys(row.stage for row in rows):
        here = [row for row in rows if row.stage == stage]
        best = min(here, key=lambda row: row.w2_squared)
        texts.append(
            f"{stage_label(stage, num_steps)}: "
            f"lowest {label(best.strategy)} with {best.w2_squared:.2e}"
        )
    return "; ".join(texts)


def _count(kinds: NDArray[np.str_]) -> str:
    counts = Counter(kinds.tolist())
    return ", ".join(
        f"{count} {label(kind) if kind in CANONICAL else kind}"
        for kind, count in counts.most_common()
    )
