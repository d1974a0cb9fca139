"""The report of distill_neural: errors, rankings beside theory, advice, summary and page."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

from experiment.folder import (
    CONFIG,
    FIGURES,
    REPORT,
    RESULTS,
    SUMMARY,
    command_line,
    describe_run,
    read_run,
    record_lines,
)
from experiment.write import write_rows, write_text
from neural.distill_neural import PLANNED, NeuralComparison, NeuralRow, stages_of
from neural.ranking import (
    CONSTANT_GUESS,
    Errors,
    finite,
    kendall_tau,
    named_by,
    regret,
    tally,
    winner,
)
from neural.student_plans import ComputeBudget
from report.markdown import Cell, Table
from report.neural_figures import BUDGET_NAMES, draw_figures
from report.page import Page, markdown, write_page
from report.style import label
from report.summary import list_files

DEFINITIONS = (
    "Every student is compared with its teacher on shared noise. The error is the mean of |student "
    "- teacher|² over the variance of the teacher's outputs, averaged over teachers and students. "
    "A column is a budget and the gradient steps per merge that it starts from. Equal per merge "
    "trains every merge that long. Equal in total gives every plan the gradient steps of T - 1 "
    "merges of pairs, and equal compute their forward passes. The planned strategy takes the plan "
    "that theory finds best for the column; = names the strategy that has the same plan."
)
RANKING = (
    "A strategy wins if its error is 10 % below all others; otherwise nobody does. Regret is the "
    "error of the strategy that was named over the least error, of the worst where the law puts "
    "several first. τ is Kendall's, over the pairs that differ by 10 % or more. The law is that of "
    "linear students: gradient flow for SGD, constant speed for Adam. Its one number per column, "
    "the training time of a gradient step, is fitted on vanilla's error. The constant guess takes "
    "vanilla for an equal total and sequential BOOT otherwise, without any theory."
)


def report_neural(out: Path, comparison: NeuralComparison) -> None:
    """Write the table, the figures, the summary and the page into the run folder ``out``."""
    rows = comparison.rows
    write_rows(out / RESULTS, rows, NeuralRow)
    diverged = {row.strategy: row.diverged for row in rows if row.diverged}
    page = Page(
        title="Neural students",
        subtitle=_subtitle(comparison),
        recommendation=advice(rows),
        verdict=None,
        claim=[score_sentence(rows)],
        definitions=DEFINITIONS,
        overviews=[
            (f"Error, students of {number} step{'s' if number > 1 else ''}", error_table(of_k))
            for number in comparison.setting.config.student_steps
            if (of_k := [row for row in rows if row.student_steps == number])
        ],
        changes_heading="Strategies that diverged",
        changes=[f"{label(name)}: {reason}." for name, reason in diverged.items()],
        notes=[RANKING],
        sections=draw_figures(out / FIGURES, comparison),
        details=[("Rankings", ranking_table(rows)), ("Spreads and parts", spread_table(rows))],
        facts=describe_run(out) | {"command": command_line(read_run(out))},
        command=command_line(read_run(out)),
        files=[out / name for name in (RESULTS, SUMMARY, CONFIG)],
    )
    record_lines(out)
    files = [out / name for name in (SUMMARY, REPORT)]
    write_text(files[0], markdown(page, out))
    write_page(files[1], page)
    tables = [f"{heading}:\n\n{table.markdown()}" for heading, table in page.overviews]
    print("\n" + "\n\n".join([*tables, *page.changes, page.recommendation, *page.claim]) + "\n")
    list_files([out / RESULTS, *files])


def _subtitle(comparison: NeuralComparison) -> str:
    config = comparison.setting.config
    data = {"ring": "five Gaussians on an ellipse", "gaussian": "one Gaussian"}
    has_faces = comparison.setting.inputs.vae is not None
    own = "latents of faces" if has_faces else "latents, without faces as no VAE was given"
    what = data.get(config.distribution, own)
    teachers, seeds = config.num_teachers, config.seeds
    return (
        f"T = {config.num_steps} teacher steps; data: {what}; students: {config.parametrisation}, "
        f"{config.students_loss} loss, {config.student.replace('_', ' ')}; {config.optimizer} with "
        f"learning rate {config.students_lr:g}; {teachers} teacher{'s' if teachers > 1 else ''} "
        f"with {seeds} student{'s' if seeds > 1 else ''} each."
    )


def advice(rows: Sequence[NeuralRow]) -> str:
    """Which strategy to take for students of the fewest steps: one sentence per budget."""
    fewest = min(row.student_steps for row in rows)
    sentences: dict[str, list[str]] = {}
    for (number, budget, steps), by_strategy in stages_of(rows).items():
        measured = rivals(by_strategy)
        if number != fewest or len(measured) < 2:
            continue
        best, second = sorted(measured, key=measured.__getitem__)[:2]
        text = f"{label(best)} at {steps:,} steps ({measured[best]:.2e}, "
        if winner(measured):
            text += f"{measured[second] / measured[best]:.1f} times below {label(second)})"
        else:
            text += f"{label(second)} within 10 %)"
        sentences.setdefault(BUDGET_NAMES[budget], []).append(text)
    if not sentences:
        if any(row.diverged for row in rows):
            return "Too many strategies diverged to recommend one; give a smaller --lr."
        return "A student of as many steps as its teacher merges nothing: all strategies are one."
    parts = [f"With training {name}, take {', '.join(of)}." for name, of in sentences.items()]
    return " ".join(parts)


def error_table(rows: Sequence[NeuralRow]) -> Table:
    """Error of every strategy, one column per budget and training length."""
    stages = stages_of(rows)
    header = ("strategy", *(f"{BUDGET_NAMES[budget]}, {steps:,}" for _, budget, steps in stages))
    least = {stage: min(row.error for row in line.values()) for stage, line in stages.items()}
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        line = [Cell(label(strategy))]
        for stage, by_strategy in stages.items():
            row = by_strategy.get(strategy)
            if row is None:  # there is no law, or vanilla has nothing to fit
                line.append(Cell("–"))
            elif row.same_as and strategy == PLANNED:
                line.append(Cell(f"= {label(row.same_as)}"))
            elif row.diverged:
                line.append(Cell("diverged"))
            else:
                line.append(Cell(f"{row.error:.2e}", row.error == least[stage]))
        lines.append(tuple(line))
    return Table(header, tuple(lines))


def ranking_table(rows: Sequence[NeuralRow]) -> Table:
    """Who won, whom the law and a constant guess name, and what it costs to believe them."""
    lines = []
    for stage, by_strategy in stages_of(rows).items():
        measured = rivals(by_strategy)
        if len(measured) < 2:
            continue
        predicted = _predicted(by_strategy, measured)
        won = winner(measured)
        texts = [
            stage_name(*stage),
            label(won) if won else "none",
            *_judged(measured, predicted),
            *_named(measured, [CONSTANT_GUESS[stage[1]]]),
        ]
        lines.append(tuple(map(Cell, texts)))
    header = ("cell", "winner", "law names", "regret", "τ", "constant guess", "regret")
    return Table(header, tuple(lines))


def spread_table(rows: Sequence[NeuralRow]) -> Table:
    """Both spreads of every error, its linear and nonlinear part, sliced W2**2 and the cost."""
    header = (
        *("strategy", "cell", "error", "spread of teachers", "of students", "linear part"),
        *("nonlinear part", "sliced W2²", "law", "merges", "gradient steps", "forward passes"),
    )
    lines = []
    for row in rows:
        if row.same_as or row.diverged:
            continue
        numbers = (row.error, row.std_teachers, row.std_seeds, row.linear, row.nonlinear)
        texts = [
            label(row.strategy),
            stage_name(row.student_steps, row.budget, row.steps_per_merge),
            *("–" if isnan(x) else f"{x:.2e}" for x in (*numbers, row.sliced_w2, row.predicted)),
            *(f"{count:,}" for count in (row.merges, row.gradient_steps, row.forwards)),
        ]
        lines.append(tuple(map(Cell, texts)))
    return Table(header, tuple(lines))


def stage_name(student_steps: int, budget: ComputeBudget, steps_per_merge: int) -> str:
    """The stage in words."""
    return f"K = {student_steps}, {BUDGET_NAMES[budget]}, {steps_per_merge:,}"


def rivals(rows: Mapping[str, NeuralRow]) -> Errors:
    """Errors of the strategies that have plans of their own and did not diverge."""
    return finite({name: row.error for name, row in rows.items() if not row.same_as})


def score_sentence(rows: Sequence[NeuralRow]) -> str:
    """How often the law and the constant guess named the winner, over all cells."""
    cells, law_names, guesses = [], [], []
    for (_, budget, _), by_strategy in stages_of(rows).items():
        measured = rivals(by_strategy)
        predicted = _predicted(by_strategy, measured)
        if predicted and CONSTANT_GUESS[budget] in measured and len(measured) > 1:
            cells.append(measured)
            law_names.append(named_by(predicted))
            guesses.append([CONSTANT_GUESS[budget]])
    if not cells:
        if any(row.diverged for row in rows):
            return "Too many strategies diverged to judge the law."
        return "There is no law for this optimizer and parametrisation."
    law, guess = tally(cells, law_names), tally(cells, guesses)
    return (
        f"Of {law.cells} cells {law.winners} have a winner: the law names {law.hits} of them "
        f"(largest regret {law.max_regret:.2f}), the constant guess {guess.hits} "
        f"({guess.max_regret:.2f})."
    )


def _predicted(rows: Mapping[str, NeuralRow], measured: Errors) -> dict[str, float] | None:
    found = {name: rows[name].predicted for name in measured}
    return None if any(map(isnan, found.values())) else found


def _judged(measured: Errors, predicted: Errors | None) -> list[str]:
    if predicted is None:
        return ["–"] * 3
    tau = kendall_tau(measured, predicted)
    named = _named(measured, named_by(predicted))
    return [*named, "–" if tau is None else f"{tau:.2f}"]


def _named(measured: Errors, names: Sequence[str]) -> list[str]:
    cost = f"{regret(measured, names):.2f}" if set(names) <= set(measured) else "diverged"
    return [" or ".join(map(label, names)), cost]
