"""The report of ``plan_merges``: strategies from best to worst, and their plans as arcs."""

from dataclasses import dataclass
from pathlib import Path

from distill.plan_merges import PLANS
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from planner.parametrisation import OPERATOR
from planner.plan import distinct, num_merges
from planner.plan_set import PlanSet
from report.plan_figures import draw_plan_arcs
from report.style import label
from report.summary import markdown_table, write_summary


@dataclass(frozen=True)
class PlanRow:
    """A row of ``results.csv``: one strategy in closed form."""

    strategy: str
    w2_squared: float
    optimal: bool  # proven to be the best plan
    num_merges: int  # over all its plans; a plan that coordinates share counts once


def report_plans(out: Path, plan_set: PlanSet) -> None:
    """Write the plans' table, figure and summary into the run folder ``out``."""
    rows = [
        PlanRow(
            strategy=name,
            w2_squared=found.w2_squared,
            optimal=found.optimal,
            num_merges=sum(map(num_merges, distinct(found.plans))),
        )
        for name, found in plan_set.strategies.items()
    ]
    rows.sort(key=lambda row: row.w2_squared)
    write_rows(out / RESULTS, rows, PlanRow)
    figure = out / FIGURES / "plan_arcs.png"
    draw_plan_arcs(figure, {_trained(plan_set): plan_set}, plan_set.variances)
    write_summary(out, "Merge plans", _text(plan_set, rows), [figure], [out / RESULTS, out / PLANS])


def _text(plan_set: PlanSet, rows: list[PlanRow]) -> str:
    lines = [
        [label(row.strategy), f"{row.w2_squared:.6e}", "yes" if row.optimal else ""] for row in rows
    ]
    target = plan_set.parametrisation.target
    table = markdown_table(["strategy", f"W2² to the {target}", "proven optimal"], lines)
    bound = plan_set.lower_bound
    below = "" if bound is None else f" No joint plan has an error below {bound:.6e}."
    return (
        f"T = {plan_set.num_steps}, {len(plan_set.variances)} coordinates, "
        f"{_trained(plan_set)}.{below}\n\n{table}"
    )


def _trained(plan_set: PlanSet) -> str:
    where = "in total" if plan_set.budget == "total" else "per merge"
    chosen = plan_set.parametrisation
    how = "" if chosen == OPERATOR else f"{chosen.text}, "
    return f"{how}training time s = {plan_set.train_time:g} {where}"
