"""The report of ``plan_merges``: strategies from best to worst, their plans as arcs, and the error
against the steps of the student.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from distill.config import ROTATION_FILE
from distill.plan_merges import Planned, plans_name
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from planner.budget import WHERE, k_suffix
from planner.joint import meets
from planner.parametrisation import OPERATOR
from planner.plan import distinct, num_merges
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from report.gaussianity import assumption_text
from report.markdown import Table
from report.page import Picture
from report.plan_figures import ARCS, draw_few_step_arcs, draw_plan_arcs
from report.student_steps import draw_student_steps, errors_table
from report.style import label, save_figure, schedule_text
from report.summary import write_summary

ERRORS = "w2_by_student_steps.png"


@dataclass(frozen=True)
class PlanRow:
    """A row of ``results.csv``: one strategy in closed form."""

    strategy: str
    w2_squared: float
    optimal: bool  # proven to be the best plan
    num_merges: int  # over all its plans; a plan that coordinates share counts once
    student_steps: int


def report_plans(out: Path, planned: Sequence[Planned]) -> None:
    """Write the plans' tables, figures and summary into the run folder ``out``.

    Args:
        planned: One for each number of student steps.
    """
    rows = [_rows(each.plan_set) for each in planned]
    write_rows(out / RESULTS, [row for own in rows for row in own], PlanRow)
    pictures = [_draw_arcs(out / FIGURES, each.plan_set) for each in planned]
    parts = [
        part
        for each, own in zip(planned, rows, strict=True)
        for part in (_text(each), _table(each, own))
    ]
    sets = sorted((each.plan_set for each in planned), key=lambda plan_set: plan_set.student_steps)
    if len(sets) > 1:
        errors, target = _errors(sets), sets[0].parametrisation.target
        picture = Picture(
            out / FIGURES / ERRORS,
            "Error of every strategy over K, the steps of the student. Strategies with equal "
            "values are drawn once; errors that are rounding are left out.",
        )
        pictures.insert(0, picture)
        save_figure(draw_student_steps([{"": errors}], target, _trained(sets[0])), picture.path)
        parts.append("The errors of all strategies over K, the steps of the student:")
        parts.append(Table.of(*errors_table(errors, f"W2² to the {target}"), marks_equals=True))
    plans = [out / plans_name(each.plan_set.student_steps) for each in planned]
    gaussianity = planned[0].gaussianity
    if gaussianity is not None:
        parts.insert(0, assumption_text(gaussianity))
        plans += [out / ROTATION_FILE] if gaussianity.rank is not None else []
    write_summary(out, "Merge plans", parts, pictures, [out / RESULTS, *plans])


def _rows(plan_set: PlanSet) -> list[PlanRow]:
    rows = [
        PlanRow(
            strategy=name,
            w2_squared=found.w2_squared,
            optimal=found.optimal,
            num_merges=sum(map(num_merges, distinct(found.plans))),
            student_steps=plan_set.student_steps,
        )
        for name, found in plan_set.strategies.items()
    ]
    return sorted(rows, key=lambda row: row.w2_squared)


def _draw_arcs(folder: Path, plan_set: PlanSet) -> Picture:
    steps = plan_set.student_steps
    path = folder / f"plan_arcs{k_suffix(steps)}.png"
    save_figure(draw_arcs_of(plan_set), path)
    whose = "" if steps == 1 else f" Vertical lines part the K = {steps} steps of the student."
    return Picture(path, f"{ARCS}{whose}")


def draw_arcs_of(plan_set: PlanSet) -> Figure:
    """The plans of all strategies as arcs over the teacher's time axis."""
    steps = plan_set.student_steps
    if steps == 1:
        return draw_plan_arcs({_trained(plan_set): plan_set}, plan_set.variances)
    return draw_few_step_arcs(plan_set, f"K = {steps}, {_trained(plan_set)}")


def _table(planned: Planned, rows: Sequence[PlanRow]) -> Table:
    plan_set, equal = planned.plan_set, planned.w2_squared_of_equal_shares
    lines = [
        [
            label(row.strategy),
            f"{row.w2_squared:.6e}",
            *([f"{equal[row.strategy]:.6e}"] if equal else []),
            _proven(plan_set.strategies[row.strategy]),
        ]
        for row in rows
    ]
    target = plan_set.parametrisation.target
    columns = ["strategy", f"W2² to the {target}", *(["with equal shares"] if equal else [])]
    return Table.of([*columns, "proven optimal"], lines, marks_equals=True)


def _text(planned: Planned) -> str:
    plan_set = planned.plan_set
    steps = plan_set.student_steps
    students = "" if steps == 1 else f"students of K = {steps} steps, "
    return (
        f"T = {plan_set.num_steps}{schedule_text(plan_set.schedule)}, "
        f"{len(plan_set.variances)} coordinates, {students}"
        f"{_trained(plan_set)}.{_bound(plan_set)}{_free(planned)}"
    )


def _proven(found: StrategyPlans) -> str:
    if found.optimal:
        return "yes"
    return "" if found.finished else "no: stopped by the time limit"


def _bound(plan_set: PlanSet) -> str:
    if plan_set.lower_bound is None:
        return ""
    if plan_set.student_steps == 1:
        return f" No joint plan has an error below {plan_set.lower_bound:.6e}.{_gap(plan_set)}"
    inexact = "pareto" in plan_set.strategies and not plan_set.strategies["pareto"].optimal
    exact = " The plan called exact is exact for each share alone." if inexact else ""
    return (
        f" With equal shares no joint plan has an error below {plan_set.lower_bound:.6e}.{exact}"
        f"{_gap(plan_set)}"
    )


def _gap(plan_set: PlanSet) -> str:
    """How far from optimal the per-dimension plans can be, where they are not proven optimal."""
    own = plan_set.strategies[PER_DIMENSION]
    if own.optimal or plan_set.lower_bound is None:
        return ""
    gap = own.w2_squared - plan_set.lower_bound
    return (
        f" Per-dimension plans are not all proven optimal: the best are at most {gap:.1e} better."
    )


def _free(planned: Planned) -> str:
    if planned.free_w2_squared is None:
        return ""
    equal = planned.plan_set.strategies[PER_DIMENSION].w2_squared
    return (
        f" Per-dimension plans have the W2² {equal:.6e} with equal shares, and "
        f"{planned.free_w2_squared:.6e} with the best free division of the teacher's steps."
    )


def _trained(plan_set: PlanSet) -> str:
    where = WHERE[plan_set.budget]
    chosen = plan_set.parametrisation
    how = "" if chosen == OPERATOR else f"{chosen.text}, "
    return f"{how}training time s = {plan_set.train_time:g} {where}"


def _errors(sets: Sequence[PlanSet]) -> dict[str, dict[int, float]]:
    """Strategy -> K -> W2², 0 where it is rounding."""
    return {
        name: {
            each.student_steps: 0.0
            if meets(each.strategies[name].w2_squared, 0.0, each.target)
            else each.strategies[name].w2_squared
            for each in sets
            if name in each.strategies
        }
        for name in dict.fromkeys(name for each in sets for name in each.strategies)
    }
