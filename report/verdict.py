"""The results of a comparison in sentences: recommendation, the paper's claim, both budgets."""

from collections.abc import Sequence
from itertools import groupby

from distill.recommend import (
    AS_GOOD,
    BOOT,
    Recommendation,
    Standing,
    boot_standings,
    recommend,
)
from distill.results import ResultRow
from planner.budget import BUDGETS, Stage
from planner.strategies import CANONICAL
from report.style import label, stage_steps

BUDGET_NAMES = {
    "per_merge": "equal training per merge",
    "total": "equal total training",
}
MEASURE_NAMES = {"w2_squared": "W2²", "pixel_l2": "pixel L2"}
AS_GOOD_IN_W2_SQUARED = (1.0 + AS_GOOD) ** 2 - 1.0


def recommendations(rows: Sequence[ResultRow]) -> list[Recommendation]:
    """One recommendation per stage, in the order of the rows."""
    stages = dict.fromkeys(row.stage for row in rows)
    return [recommend([row for row in rows if row.stage == stage]) for stage in stages]


def recommendation_text(found: Sequence[Recommendation], num_steps: int) -> str:
    """Which strategy to take at every stage, and its gain: one sentence per budget."""
    sentences = []
    for budget in dict.fromkeys(one.budget for one in found):
        stages = [one for one in found if one.budget == budget]
        decided = groupby((one for one in stages if not one.all_as_good), lambda one: one.strategy)
        advice = [
            f"{label(strategy)} {_listed([_gain(one, num_steps) for one in same])}"
            for strategy, same in decided
        ]
        equal = [one for one in stages if one.all_as_good]
        if equal:
            steps = _listed([f"{stage_steps(one.stage, num_steps):,}" for one in equal])
            advice.append(
                f"{label(equal[-1].strategy)} at {steps} steps (all are equal within "
                f"{AS_GOOD_IN_W2_SQUARED:.1%})"
            )
        sentences.append(f"With {BUDGET_NAMES[budget]}, take {', and '.join(advice)}.")
    return " ".join([*sentences, f"This holds for these latents and T = {num_steps}."])


def _gain(one: Recommendation, num_steps: int) -> str:
    following = label(str(one.next_best))  # there is a next best, as not all are equally good
    if one.next_best in one.as_good:
        gain = f"as good as {following}"
    else:
        gain = f"{one.advantage_in_w2_squared:.1%} below {following}"
    steps = stage_steps(one.stage, num_steps)
    return f"at {steps:,} steps (expected W2² {one.expected_w2_squared:.3e}, {gain})"


def claim_sentences(rows: Sequence[ResultRow], num_steps: int) -> list[str]:
    """Whether sequential BOOT is lowest of the paper's four at every stage, one text per budget."""
    sentences = []
    for budget in dict.fromkeys(row.budget for row in rows):
        here = [row for row in rows if row.budget == budget]
        if BOOT not in {row.strategy for row in here}:
            continue
        parts = []
        for measure, name in MEASURE_NAMES.items():
            standings = boot_standings(here, measure)
            holds = all(one.boot_is_lowest for one in standings)
            stages = ", ".join(
                f"at {stage_steps(one.stage, num_steps):,} steps {_standing(one)}"
                for one in standings
            )
            verdict = "holds" if holds else "does not hold"
            parts.append(f"By {name} the claim {verdict}: {stages}.")
        sentences.append(f"With {BUDGET_NAMES[budget]}: {' '.join(parts)}")
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
    """The effect of equal total training, one text per stage; none if only one budget was run."""
    w2 = {(row.budget, row.steps_per_merge, row.strategy): f"{row.w2_squared:.3e}" for row in rows}
    if not all(any(budget == key[0] for key in w2) for budget in BUDGET_NAMES):
        return []
    names = dict.fromkeys(row.strategy for row in rows)
    lengths = dict.fromkeys(row.steps_per_merge for row in rows)
    sentences = []
    for length in lengths:
        pairs = [
            (name, w2.get(("per_merge", length, name)), w2.get(("total", length, name)))
            for name in names
        ]
        changes = [
            f"{label(name)} {before} → {after}"
            for name, before, after in pairs
            if before is not None and after is not None and before != after
        ]
        total = stage_steps(Stage("total", length), num_steps)
        when = f"From {length:,} steps per merge to {total:,} steps in total"
        if not changes:
            sentences.append(f"{when} no W2² changes in its first four digits.")
            continue
        before, after = (_lowest(rows, Stage(budget, length)) for budget in BUDGETS)
        lowest = (
            f"{before} is lowest under both budgets."
            if before == after
            else f"{before} is lowest per merge, {after} in total."
        )
        sentences.append(f"{when} W2² changes for {_listed(changes)}. {lowest}")
    return sentences


def _lowest(rows: Sequence[ResultRow], stage: Stage) -> str:
    here = [row for row in rows if row.stage == stage]
    return label(min(here, key=lambda row: row.w2_squared).strategy)


def _listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))
