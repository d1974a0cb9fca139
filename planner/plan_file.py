"""The JSON file of the plans of several strategies for one problem, plans.json.

It counts steps as the papers do: the interval [a, b] of teacher steps is the jump
x_b -> x_{a-1}, and the children of a merge stand in increasing order. Students of K > 1 steps have
the key student_steps, and their merges are a list over the K steps, noisiest first, of what
students of one step have.

The entry per_dimension lists the merges of every coordinate. Where that makes more than MOST_LISTED
merges, it lists different plans once, and ``plan_of`` numbers the plan of each coordinate (for
K > 1 of each step and coordinate). Versions that do not know ``plan_of`` refuse such a file,
because it has fewer plans than coordinates.

Under the budget best_split every strategy has the key shares beside merges: the share of the total
training time of every merge, in lists of the same shape.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseLevels, TeacherSchedule
from experiment.read import (
    expect,
    field,
    finite,
    integer,
    number,
    numbers,
    read_json,
    reading,
    short_repr,
)
from planner.budget import Budget, BudgetKind, Shares
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import (
    Plan,
    Plans,
    distinct,
    map_distinct,
    merge,
    merges,
    num_merges,
    share_equal,
    step,
)
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import Problem
from planner.strategies import equal_shares

Array = NDArray[np.float64]

MOST_LISTED = 1 << 15
"""Merges of single coordinates that a file lists in full: some four megabytes."""
PLAN_AGAIN = "write it again: python -m scripts.plan_merges"
SHARES_ROUNDING = 1e-9
"""Largest distance from 1 of the sum of the shares of a plan."""
SAME_LEVELS = 1e-9
"""Largest difference of the alphas and sigmas of one schedule on two machines."""
# Files of students are named after strategies.
_NAME = re.compile(r"\w[\w-]{0,150}", re.ASCII)


def to_json(plan_set: PlanSet) -> dict[str, object]:
    """``plan_set`` as lists, numbers and strings.

    The keys parametrisation, loss, prediction and law are there for denoisers only, and their
    target is called composite. So a reader that knows operators only refuses such a file. The key
    student_steps is there for K > 1 only, and finished only for plans of a solver that was stopped.
    The schedule has its name and its levels.
    """
    chosen, steps = plan_set.parametrisation, plan_set.student_steps
    made = {} if chosen == OPERATOR else asdict(chosen)
    if made:
        made["parametrisation"] = made.pop("kind")
    return {
        **made,
        "num_steps": plan_set.num_steps,
        **({"student_steps": steps} if steps > 1 else {}),
        "train_time": plan_set.train_time,
        "budget": plan_set.budget,
        "variances": plan_set.variances.tolist(),
        chosen.target: plan_set.target.tolist(),
        "lower_bound": plan_set.lower_bound,
        "strategies": {
            name: {
                "w2_squared": found.w2_squared,
                "operator": found.operator.tolist(),
                "optimal": found.optimal,
                **({} if found.finished else {"finished": False}),
                **_merges_of_steps(name, found.plans, steps),
                **({} if found.shares is None else {"shares": _listed_shares(name, found)}),
            }
            for name, found in plan_set.strategies.items()
        },
        **({} if plan_set.schedule is None else {"schedule": _levels(plan_set.schedule)}),
    }


def _levels(schedule: NoiseLevels) -> dict[str, object]:
    return {
        "name": schedule.name,
        "alpha": schedule.alpha.tolist(),
        "sigma": schedule.sigma.tolist(),
    }


def from_json(value: object) -> PlanSet:
    """The plans of such an object; the inverse of ``to_json``.

    Raises:
        ValueError: ``value`` is not what ``to_json`` returns.
    """
    num_steps, student_steps = integer(value, "num_steps", least=1), read_student_steps(value)
    chosen = _parametrisation(value)
    variances, target = numbers(value, "variances"), numbers(value, chosen.target)
    if len(target) != len(variances):
        raise ValueError(f"{len(target)} {chosen.target}s for {len(variances)} variances")
    bound = field(value, "lower_bound", object)
    kind: Any = field(value, "budget", str)  # checked by Budget
    budget = Budget(number(value, "train_time"), kind)
    if budget.kind == "best_split" and student_steps > 1:
        raise ValueError(f"the budget best_split is for students of one step, not {student_steps}")
    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=variances,
        target=target,
        lower_bound=None if bound is None else finite(bound, "lower_bound"),
        strategies={
            name: _strategy(
                name, found, num_steps, student_steps, len(variances), budget.kind == "best_split"
            )
            for name, found in field(value, "strategies", dict).items()
        },
        parametrisation=chosen,
        student_steps=student_steps,
        schedule=_schedule(value, num_steps),
    )


def _schedule(value: object, num_steps: int) -> TeacherSchedule | None:
    if not (isinstance(value, dict) and "schedule" in value):
        return None
    levels = value["schedule"]
    alpha, sigma = numbers(levels, "alpha"), numbers(levels, "sigma")
    found = TeacherSchedule(alpha, sigma, field(levels, "name", str))
    if found.num_steps != num_steps:
        raise ValueError(f"a schedule of {found.num_steps} steps for plans of {num_steps}")
    return found


def _parametrisation(value: object) -> Parametrisation:
    if not (isinstance(value, dict) and "parametrisation" in value):
        return OPERATOR
    kind, loss, prediction, law = (
        field(value, name, str) for name in ("parametrisation", "loss", "prediction", "law")
    )
    return Parametrisation(kind, loss, prediction, law)  # type: ignore[arg-type]  # it checks them


def read_student_steps(value: object) -> int:
    if not (isinstance(value, dict) and "student_steps" in value):
        return 1
    return integer(value, "student_steps", least=2)


def _strategy(
    name: str, found: object, num_steps: int, student_steps: int, width: int, has_shares: bool
) -> StrategyPlans:
    refuse_unsafe_name(name)
    listed, operator = field(found, "merges", list), numbers(found, "operator")
    steps = listed if student_steps > 1 else [listed]
    # Checked before any share is made, because a damaged number of steps can be of any size.
    if len(steps) != student_steps:
        raise ValueError(f"{name}: merges of {len(steps)} steps, not of {student_steps}")
    shares = equal_shares(num_steps, student_steps)
    places: list[Any] = [None] * student_steps
    if "plan_of" in expect(found, dict, name):
        places = (
            field(found, "plan_of", list) if student_steps > 1 else [field(found, "plan_of", list)]
        )
        if len(places) != student_steps:
            raise ValueError(f"{name}: plan_of of {len(places)} steps, not of {student_steps}")
    plans: Plans = ()
    for own, share, place in zip(steps, shares, places, strict=True):
        row = _plans_of_step(name, expect(own, list, "merges"), share, width, place)
        if not len(row) == len(operator) == width:
            raise ValueError(
                f"{name}: {len(row)} plans and {len(operator)} operators for {width} variances"
            )
        plans += row
    return StrategyPlans(
        plans,
        operator,
        number(found, "w2_squared", least=0.0),
        optimal=field(found, "optimal", bool),
        finished="finished" not in expect(found, dict, name) or field(found, "finished", bool),
        shares=_shares(name, found, plans) if has_shares else None,
    )


def _shares(name: str, found: object, plans: Plans) -> tuple[Shares, ...]:
    """The shares of the merges of every plan, for students of one step."""
    listed = field(found, "shares", list)
    if name != PER_DIMENSION:
        return (_shares_of(name, listed, plans[0]),) * len(plans)
    numbered = "plan_of" in expect(found, dict, name)
    places = field(found, "plan_of", list) if numbered else range(len(plans))
    if max(places) >= len(listed):
        raise ValueError(f"{name}: shares of {len(listed)} plans, not of {max(places) + 1}")
    return tuple(
        _shares_of(name, expect(listed[place], list, "shares"), plan)
        for place, plan in zip(places, plans, strict=True)
    )


def _shares_of(name: str, listed: list[object], plan: Plan) -> Shares:
    shares = tuple(finite(share, "a share") for share in listed)
    if len(shares) != num_merges(plan):
        raise ValueError(f"{name}: {len(shares)} shares for {num_merges(plan)} merges")
    if shares and (min(shares) < 0.0 or abs(sum(shares) - 1.0) > SHARES_ROUNDING):
        raise ValueError(f"{name}: shares must be at least 0 and sum to 1, got {sum(shares):g}")
    return shares


def _plans_of_step(
    name: str, listed: list[Any], share: tuple[int, int], width: int, places: object
) -> Plans:
    """One plan per coordinate, for one step of the student.

    Args:
        places: For each coordinate the number of its plan in ``listed``; None if all are listed.
    """
    if name != PER_DIMENSION:
        return (_plan(listed, *share),) * width
    plans = share_equal(_plan(expect(own, list, "merges"), *share) for own in listed)
    if places is None:
        return plans
    numbers = [expect(place, int, "plan_of") for place in expect(places, list, "plan_of")]
    if not all(0 <= place < len(plans) for place in numbers):
        raise ValueError(f"{name}: plan_of has numbers outside 0..{len(plans) - 1}")
    return tuple(plans[place] for place in numbers)


def refuse_unsafe_name(name: str) -> None:
    """Refuse a strategy's name that cannot safely be part of a file name.

    Raises:
        ValueError: it has characters other than letters, digits, _ and -.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{short_repr(name)} cannot name a file; use letters, digits, _ and -")


def read_plans(path: Path, hint: str = PLAN_AGAIN) -> PlanSet:
    """The plans that scripts/plan_merges.py wrote.

    Args:
        hint: What to do about a missing or damaged file.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it is damaged, or not a plans.json.
    """
    with reading(path, "a whole plans.json", hint):
        return from_json(read_json(path))


def read_plans_for(
    path: Path, problem: Problem, hint: str = PLAN_AGAIN, student_steps: int = 1
) -> PlanSet:
    """The same plans, which must be for students of the kind and shape of ``problem``.

    Args:
        hint: What to do about a missing or damaged file.
        student_steps: K, the steps that the students must have.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it is damaged, or for another problem.
    """
    found, shape = read_plans(path, hint), problem.operators.shape
    if (found.num_steps, len(found.variances)) != shape:
        raise ValueError(
            f"{path}: for {found.num_steps} steps and {len(found.variances)} coordinates, this "
            f"run has {shape[0]} and {shape[1]}; give --num-steps {found.num_steps}, or plan "
            "again for these variances"
        )
    if found.parametrisation != problem.parametrisation:
        raise ValueError(
            f"{path}: plans for students of the kind {found.parametrisation.text}, this run trains "
            f"{problem.parametrisation.text}; give the same --parametrisation, --loss and "
            "--prediction to both"
        )
    refuse_other_schedule(path, found, problem.schedule)
    refuse_other_steps(path, found, student_steps)
    return found


def refuse_other_schedule(path: Path, found: PlanSet, schedule: NoiseLevels) -> None:
    """Refuse plans for teacher steps of another schedule; older files do not tell theirs.

    Raises:
        ValueError: with both names.
    """
    if found.schedule is None:
        return
    pairs = ((found.schedule.alpha, schedule.alpha), (found.schedule.sigma, schedule.sigma))
    if not all(np.allclose(*pair, rtol=0.0, atol=SAME_LEVELS) for pair in pairs):
        raise ValueError(
            f"{path}: plans for the schedule {found.schedule.name}, this run has {schedule.name}; "
            "give the same --schedule and --zero-snr to both"
        )


def refuse_other_steps(path: Path, found: PlanSet, student_steps: int) -> None:
    """Refuse plans for students of another number of steps than are trained.

    Raises:
        ValueError: with what to give instead.
    """
    if found.student_steps != student_steps:
        raise ValueError(
            f"{path}: plans for students of K = {found.student_steps}, this run trains students of "
            f"K = {student_steps}; plan again with plan_merges --student-steps {student_steps}"
        )


def refuse_equal_shares(path: Path, found: PlanSet, budgets: Iterable[BudgetKind]) -> None:
    """Refuse plans without a split where they are to be trained under ``best_split``.

    Raises:
        ValueError: with what to give instead.
    """
    if "best_split" in budgets and found.budget != "best_split":
        raise ValueError(
            f"{path}: plans for the budget {found.budget}, whose merges train equally long; plan "
            "again with plan_merges --budget best_split"
        )


def _merges_of_steps(name: str, plans: Plans, student_steps: int) -> dict[str, Any]:
    width = len(plans) // student_steps
    rows = [plans[first : first + width] for first in range(0, len(plans), width)]
    if name != PER_DIMENSION:
        return {"merges": _of_steps([_merges(row[0]) for row in rows])}
    if sum(map_distinct(num_merges, plans)) <= MOST_LISTED:
        return {"merges": _of_steps([[_merges(plan) for plan in row] for row in rows])}
    shared = [share_equal(row) for row in rows]
    places = [{id(plan): place for place, plan in enumerate(distinct(row))} for row in shared]
    return {
        "merges": _of_steps([[_merges(plan) for plan in distinct(row)] for row in shared]),
        "plan_of": _of_steps(
            [[of[id(plan)] for plan in row] for row, of in zip(shared, places, strict=True)]
        ),
    }


def _listed_shares(name: str, found: StrategyPlans) -> list[Any]:
    assert found.shares is not None
    if name != PER_DIMENSION:
        return list(found.shares[0])
    if sum(map_distinct(num_merges, found.plans)) <= MOST_LISTED:
        return [list(own) for own in found.shares]
    # Equal plans of single coordinates have equal shares.
    shared = share_equal(found.plans)
    of = {id(plan): own for plan, own in zip(shared, found.shares, strict=True)}
    return [list(of[id(plan)]) for plan in distinct(shared)]


def _of_steps(values: list[Any]) -> Any:  # noqa: ANN401 - JSON
    """One value per step of the student, or the only one."""
    return values if len(values) > 1 else values[0]


def _merges(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "interval": [jump.stop + 1, jump.start],
            "children": [[part.stop + 1, part.start] for part in reversed(jump.parts)],
        }
        for jump in merges(plan)
    ]


def _plan(jumps: list[object], start: int, stop: int) -> Plan:
    """The plan of the jump x_start -> x_stop that has these merges."""
    num_steps = start - stop
    children = [field(jump, "children", list) for jump in jumps]
    parts = sum(map(len, children))
    # Checked before any block is made, because a damaged number of steps can be of any size.
    if parts < num_steps > 1:
        raise ValueError(
            f"merges of {parts} blocks leave several of {num_steps} steps, not one of all steps"
        )
    done = {(t, t): step(t) for t in range(stop + 1, start + 1)}
    for jump, spans in zip(jumps, children, strict=True):
        if not spans:
            raise ValueError("a merge has no children")
        merged = merge(*(_take(done, _span(span)) for span in reversed(spans)))
        a, b = _span(field(jump, "interval", list))
        if (merged.stop + 1, merged.start) != (a, b):
            raise ValueError(f"children {short_repr(spans)} do not tile the interval [{a}, {b}]")
        done[a, b] = merged
    if list(done) != [(stop + 1, start)]:
        raise ValueError(
            f"merges leave the blocks {sorted(done)[:4]}, not one of all steps {stop + 1}..{start}"
        )
    return done[stop + 1, start]


def _take(blocks: dict[tuple[int, int], Plan], span: tuple[int, int]) -> Plan:
    if span not in blocks:
        raise ValueError(f"a child {list(span)} is no step, and no merge that is still to be used")
    return blocks.pop(span)


def _span(value: object) -> tuple[int, int]:
    ends = expect(value, list, "an interval")
    if len(ends) != 2:
        raise ValueError(f"an interval is {short_repr(ends)}, must be [first, last]")
    return expect(ends[0], int, "the first step"), expect(ends[1], int, "the last step")
