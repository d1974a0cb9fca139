"""The report of compare_strategies: figures, summary, recommendation and page."""

from collections.abc import Sequence
from pathlib import Path

from distill.comparison import Comparison, Store
from distill.recommend import PIXEL_ROUNDING, write_recommendations
from distill.results import STUDENT_ROUNDING, ResultRow, over_seeds
from experiment.folder import (
    CONFIG,
    REPORT,
    RESULTS,
    SUMMARY,
    command_line,
    describe_run,
    read_run,
    record_lines,
)
from experiment.write import write_text
from planner.budget import BudgetKind
from planner.value import OPERATOR_ROUNDING
from report.comparison_figures import draw_figures, errors_by_steps
from report.gaussianity import assumption_text
from report.markdown import Table
from report.page import Page, markdown, write_page
from report.plan_view import plan_data
from report.student_steps import errors_table
from report.style import k_label, schedule_text, stage_label
from report.tables import details, overview, split_gains
from report.verdict import (
    AS_GOOD_IN_W2_SQUARED,
    BUDGET_NAMES,
    budget_sentences,
    claim_sentences,
    recommendation_text,
    recommendations,
    verdict_table,
)

TITLE = "Strategy comparison"
CLAIM = (
    "[OM] reports, for operators, that sequential BOOT is the lowest of its four strategies at "
    "every stage."
)
COMPOSITE = "The composite is the product of all teacher steps: what the teacher itself does. "
SURROGATE = (
    "The surrogate is the composite without those steps that contract a dimension whose variance "
    "exceeds 1; all students are compared with it. "
)
DENOISERS = (
    "Students are denoisers: they estimate x_0 and jump by the DDIM formula. All are compared with "
    "the composite. "
)
SEVERAL_STEPS = (
    "K is the number of steps of a student; where none is given, it is 1. Each step is distilled "
    "from an equal share of the teacher's steps. "
)
DISTANCES = (
    "W2² is the squared 2-Wasserstein distance between a student's and the {target}'s outputs in "
    "latent space. "
)
PIXELS = (
    "Pixel L2 is the distance between their decoded faces of the same noise, averaged over faces."
)
NO_FACES = "There are no faces and no pixel distances, because no VAE was given (--vae)."
NOTES = (
    "A stage is a training length. Equal training per merge gives every merge the same number of "
    "gradient steps, as the paper does, so plans with more merges train longer in total. Equal "
    "total training gives every plan (T - 1) times as many steps and divides them among its "
    "merges. So plans of T - 1 merges do not change, and plans with fewer merges train each merge "
    "longer. Where the steps do not divide evenly, the last merges take one step more.",
    "The predicted value is the closed form with the expected shrinkage. The spread is the "
    "standard deviation of W2² over simulated training runs, which differ by their batches. The "
    "deviation compares the operator with the mean of those runs for each dimension, in units of "
    "their spread. It is about 1 (rms) if the theory holds, and less where the spread is below "
    "the rounding of float32. The recommendation ranks strategies by the expected W2², its mean "
    f"over those runs. Strategies within {AS_GOOD_IN_W2_SQUARED:.1%} of the lowest are as good; of "
    "these it takes the one with the fewest merges.",
    "Strategies tie if they differ by no more than rounding explains. In W2² that is the effect of "
    f"an error of {OPERATOR_ROUNDING:g} in every operator, or of {STUDENT_ROUNDING:g} with the "
    "engine sgd, whose students are float32.",
    "The engine sgd takes every gradient step; closed_form computes the result of gradient steps "
    "on the same batches. Strategies with equal plans and steps share one training.",
)
SPLIT_NOTE = (
    "Best split: the total of a plan is divided over its merges so that its W2² is as low as the "
    "search found, and then rounded to whole gradient steps. A merge may get none; then its "
    "student is a copy of its noisiest part. The per-dimension plan is the best of all plans with "
    "all splits. For the others no proof says that another split, or another plan, is not better."
)
FACE_NOTE = (
    "Intervals of pixel L2 are 95 % bootstrap intervals over the noise. Two values tie if they "
    f"differ by no more than {PIXEL_ROUNDING:g}, which is rounding. SSIM compares the same faces."
)


def write_report(
    out: Path, comparison: Comparison, rows: Sequence[ResultRow], seed: int
) -> tuple[str, list[Path]]:
    """Draw and write all parts of the report into the run folder.

    Returns:
        The text for the terminal, and the written files with the page last.
    """
    num_steps = comparison.problem.schedule.num_steps
    mean_rows = over_seeds(rows)
    found = recommendations(mean_rows)
    advice, verdict = recommendation_text(found, num_steps), verdict_table(found, num_steps)
    assumption, holds = _assumption(comparison)
    warnings = [] if holds else assumption
    claim = [*(assumption if holds else []), CLAIM, *claim_sentences(mean_rows, num_steps)]
    groups: dict[tuple[int, BudgetKind], list[ResultRow]] = {}
    for row in mean_rows:
        groups.setdefault((row.student_steps, row.budget), []).append(row)
    overviews = [
        (BUDGET_NAMES[budget].capitalize() + k_label(steps), overview(own, num_steps))
        for (steps, budget), own in groups.items()
    ]
    gains = split_gains(mean_rows, num_steps)
    if gains is not None:
        overviews.append(("Equal shares of the total against the best split", gains))
    tables = [
        (f"W2² over K, {heading}", Table.of(*errors_table(errors, "strategy")))
        for heading, errors in errors_by_steps(mean_rows, num_steps).items()
    ] + [
        (
            stage_label(stage, num_steps),
            details([row for row in mean_rows if row.stage == stage]),
        )
        for stage in comparison.plans
    ]
    facts = _facts(out, comparison, rows)
    files = [out / name for name in ("recommendation.json", SUMMARY, REPORT)]
    page = Page(
        title=TITLE,
        subtitle=_subtitle(comparison, rows),
        recommendation=advice,
        verdict=verdict,
        claim=claim,
        definitions=_definitions(comparison),
        overviews=overviews,
        changes_heading="What equal total training changes",
        changes=budget_sentences(mean_rows, num_steps),
        notes=_notes(comparison),
        sections=draw_figures(out / "figures", comparison, mean_rows, seed),
        details=tables,
        facts=facts,
        command=command_line(read_run(out)),
        files=[
            *(out / name for name in (RESULTS, "recommendation.json", SUMMARY, CONFIG)),
            *map(Store(out).plans_path, comparison.plans),
        ],
        warnings=warnings,
        plan_view=plan_data(comparison.problem, comparison.lr),
    )
    record_lines(out)
    write_recommendations(files[0], num_steps, found, " ".join([*warnings, advice]))
    write_text(files[1], markdown(page, out))
    write_page(files[2], page)
    terminal = [f"{heading}:\n\n{table.markdown()}" for heading, table in overviews]
    after = assumption if holds else []
    faces = [NO_FACES] if comparison.model is None else []
    return "\n\n".join([*terminal, *faces, *warnings, verdict.markdown(), advice, *after]), files


def _assumption(comparison: Comparison) -> tuple[list[str], bool]:
    """How well planning's assumption fits the latents, and whether it does.

    A run that was reopened does not know.
    """
    found = comparison.gaussianity
    return ([], True) if found is None else ([assumption_text(found)], found.holds)


def _notes(comparison: Comparison) -> tuple[str, ...]:
    splits = any(stage.budget == "best_split" for stage in comparison.plans)
    return (
        *NOTES,
        *((SPLIT_NOTE,) if splits else ()),
        *((FACE_NOTE,) if comparison.model is not None else ()),
    )


def _definitions(comparison: Comparison) -> str:
    students = comparison.problem.parametrisation
    kind = SURROGATE if students.kind == "operator" else DENOISERS
    several = any(stage.student_steps > 1 for stage in comparison.plans)
    steps = SEVERAL_STEPS if several else ""
    faces = NO_FACES if comparison.model is None else PIXELS
    return COMPOSITE + kind + steps + DISTANCES.format(target=students.target) + faces


def _subtitle(comparison: Comparison, rows: Sequence[ResultRow]) -> str:
    kinds = {"gaussian": "Gaussians of the latents' variances", "latents": "real latents, noised"}
    engines = " and ".join(sorted({row.engine for row in rows}))
    seeds = len({row.seed for row in rows})
    numbers = list(dict.fromkeys(row.student_steps for row in rows))
    rotated = "" if comparison.rotation is None else ", rotated"
    steps = "" if numbers == [1] else f" of K = {', '.join(map(str, numbers))} steps"
    return (
        f"T = {comparison.problem.schedule.num_steps} teacher steps"
        f"{schedule_text(comparison.problem.schedule)}, "
        f"{len(comparison.mean)} latent dimensions{rotated}; students{steps}: "
        f"{comparison.problem.parametrisation.text}; inputs: {kinds[comparison.inputs]}; "
        f"engine: {engines}; {seeds} training run{'s' if seeds > 1 else ''} per row."
    )


def _facts(out: Path, comparison: Comparison, rows: Sequence[ResultRow]) -> dict[str, str]:
    trained = {id(students): students for students in comparison.students.values()}.values()
    return describe_run(out) | {
        "command": command_line(read_run(out)),
        "data fingerprint": comparison.data_fingerprint,
        "trainings": f"{len(trained)} for {len(rows)} rows, "
        f"{sum(students.seconds for students in trained):.1f} s in all",
    }
