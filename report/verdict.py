"""The results of a comparison in words: recommendation, the paper's claim, both budgets."""

from collections import Counter
from collections.abc import Sequence

from distill.recommend import (
    AS_GOOD,
    BOOT,
    Recommendation,
    Standing,
    boot_standings,
    recommend,
)
from distill.results import ResultRow
from planner.budget import BUDGETS, WHERE, Stage
from planner.strategies import CANONICAL
from report.markdown import Table
from report.style import k_label, label, stage_steps
from report.tables import has_images

BUDGET_NAMES = {
    "per_merge": "equal training per merge",
    "total": "equal total training",
    "best_split": "equal total training and the best split",
}
MEASURE_NAMES = {"w2_squared": "W2²", "pixel_l2": "pixel L2"}
AS_GOOD_IN_W2_SQUARED = (1.0 + AS_GOOD) ** 2 - 1.0


def recommendations(rows: Sequence[ResultRow]) -> list[Recommendation]:
    """One recommendation per stage, in the order of the rows."""
    stages = dict.fromkeys(row.stage for row in rows)
    return [recommend([row for row in rows if row.stage == stage]) for stage in stages]


def recommendation_text(found: Sequence[Recommendation], num_steps: int) -> str:
    """At how many stages each strategy is the one to take, in one sentence."""
    counts = Counter(one.strategy for one in found if not one.all_as_good).most_common()
    parts = [f"{_with_article(name)} at {count}" for name, count in counts]
    if parts:
        parts[0] += f" of {len(found)} stage{'s' if len(found) > 1 else ''}"
        text = f"Take {_listed(parts)}"
        equal = len(found) - sum(count for _, count in counts)
        if equal:
            text += f"; at the other {equal} all strategies are equally good"
    else:
        text = "All strategies are equally good at every stage"
    return f"{text}. This holds for these latents and T = {num_steps}."


def _with_article(strategy: str) -> str:
    """The strategy as the object of a sentence: plans have an article, names have none."""
    name = label(strategy)
    return name if strategy in CANONICAL else f"the {name}"


def verdict_table(found: Sequence[Recommendation], num_steps: int) -> Table:
    """What to take at every stage, and how far the next best is from it, one line per stage.

    Where all strategies are equally good, the one with the fewest merges is taken.
    """
    several = len({one.student_steps for one in found}) > 1 or found[0].student_steps > 1
    header = ("training", "gradient steps", *(["K"] if several else []))
    lines = []
    for one in found:
        following = "–" if one.next_best is None else label(one.next_best)
        where = WHERE[one.budget]
        lines.append(
            (
                where,
                f"{stage_steps(one.stage, num_steps):,}",
                *([str(one.student_steps)] if several else []),
                label(one.strategy),
                f"{one.expected_w2_squared:.3e}",
                following,
                _gain(one),
            )
        )
    return Table.of((*header, "take", "expected W2²", "next best", "by how much"), lines)


def _gain(one: Recommendation) -> str:
    if one.next_best is None:
        return "–"
    if one.equal_within_rounding:
        return "all are equal within rounding"
    if one.all_as_good:
        return f"all are equal within {AS_GOOD_IN_W2_SQUARED:.1%}"
    if one.next_best in one.as_good:
        return f"equal within {AS_GOOD_IN_W2_SQUARED:.1%}"
    return f"{one.advantage_in_w2_squared:.1%} lower"


def claim_sentences(rows: Sequence[ResultRow], num_steps: int) -> list[str]:
    """Whether sequential BOOT is lowest of the paper's four at every stage.

    One text per budget and K.
    """
    sentences = []
    for budget, steps in dict.fromkeys((row.budget, row.student_steps) for row in rows):
        here = [row for row in rows if (row.budget, row.student_steps) == (budget, steps)]
        if BOOT not in {row.strategy for row in here}:
            continue
        parts = []
        for measure, name in MEASURE_NAMES.items():
            if measure == "pixel_l2" and not has_images(here):
                continue
            standings = boot_standings(here, measure)
            holds = all(one.boot_is_lowest for one in standings)
            stages = ", ".join(
                f"at {stage_steps(one.stage, num_steps):,} steps {_standing(one)}"
                for one in standings
            )
            verdict = "holds" if holds else "does not hold"
            parts.append(f"By {name} the claim {verdict}: {stages}.")
        sentences.append(f"With {BUDGET_NAMES[budget]}{k_label(steps)}: {' '.join(parts)}")
    return sentences


def _standing(one: Standing) -> str:
    others = [label(name) for name in one.lowest if name != BOOT]
    if not one.boot_is_lowest:
        return (
            f"{_listed(others)} {'is' if len(others) == 1 else 'are'} lowest "
            f"({one.least:.4g}, BOOT {one.boot:.4g})"
        )
    if len(one.lowest) == len(CANONICAL):
        return f"all four tie ({one.boot:.4g})"
    if others:
        return f"BOOT ties with {_listed(others)} ({one.boot:.4g})"
    return f"BOOT is lowest ({one.boot:.4g})"


def budget_sentences(rows: Sequence[ResultRow], num_steps: int) -> list[str]:
    """The effect of equal total training, one text per training length and K.

    There is none if not both budgets were run.
    """
    w2 = {(row.stage, row.strategy): f"{row.w2_squared:.3e}" for row in rows}
    if not all(any(row.budget == budget for row in rows) for budget in BUDGETS):
        return []
    names = dict.fromkeys(row.strategy for row in rows)
    sentences = []
    for steps, length in dict.fromkeys((row.student_steps, row.steps_per_merge) for row in rows):
        per_merge, in_total = (Stage(budget, length, steps) for budget in BUDGETS)
        pairs = [(name, w2.get((per_merge, name)), w2.get((in_total, name))) for name in names]
        changes = [
            f"{label(name)} {before} → {after}"
            for name, before, after in pairs
            if before is not None and after is not None and before != after
        ]
        total = stage_steps(in_total, num_steps)
        when = f"From {length:,} steps per merge to {total:,} steps in total{k_label(steps)},"
        when = when if steps > 1 else when.removesuffix(",")
        if not changes:
            sentences.append(f"{when} no W2² changes in its first four digits.")
            continue
        before, after = (_lowest(rows, stage) for stage in (per_merge, in_total))
        lowest = (
            f"The lowest W2² under both budgets is that of {before}."
            if before == after
            else f"The lowest W2² per merge is that of {before}, in total that of {after}."
        )
        sentences.append(f"{when} W2² changes for {_listed(changes)}. {lowest}")
    return sentences


def _lowest(rows: Sequence[ResultRow], stage: Stage) -> str:
    here = [row for row in rows if row.stage == stage]
    return _with_article(min(here, key=lambda row: row.w2_squared).strategy)


def _listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))
