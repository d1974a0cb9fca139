"""Plans of several strategies as one JSON object, and back.

Steps are counted as in the papers: the interval [a, b] of teacher steps is the jump
x_b -> x_{a-1}, and the children of a merge stand in increasing order.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, merge, merges, outline, step

Array = NDArray[np.float64]

PER_DIMENSION = "per_dimension"  # the one strategy with a list of merges a coordinate


@dataclass(frozen=True, eq=False)
class StrategyPlans:
    """One strategy's plans, and what its students are worth in closed form."""

    plans: tuple[Plan, ...]  # one a coordinate
    operator: Array  # (d,)
    w2_squared: float
    optimal: bool  # proven, among the plans that the strategy may choose from


@dataclass(frozen=True, eq=False)
class PlanSet:
    """All strategies for one problem."""

    num_steps: int
    train_time: float
    budget: str  # "per-merge", or "total": train_time is the sum over a plan's merges
    variances: Array  # (d,)
    surrogate: Array  # (d,)
    lower_bound: float | None  # no plan's W2**2 is below; None where it is not known
    strategies: dict[str, StrategyPlans]

    @property
    def plans(self) -> dict[str, tuple[Plan, ...]]:
        """Strategy -> a plan a coordinate."""
        return {name: found.plans for name, found in self.strategies.items()}


def to_json(plan_set: PlanSet) -> dict[str, object]:
    """``plan_set`` in lists, numbers and names."""
    return {
        "num_steps": plan_set.num_steps,
        "train_time": plan_set.train_time,
        "budget": plan_set.budget,
        "variances": plan_set.variances.tolist(),
        "surrogate": plan_set.surrogate.tolist(),
        "lower_bound": plan_set.lower_bound,
        "strategies": {
            name: {
                "w2_squared": found.w2_squared,
                "operator": found.operator.tolist(),
                "optimal": found.optimal,
                "merges": [_merges(plan) for plan in found.plans]
                if name == PER_DIMENSION
                else _merges(found.plans[0]),
            }
            for name, found in plan_set.strategies.items()
        },
    }


def from_json(value: dict[str, Any]) -> PlanSet:
    """The inverse of ``to_json``.

    Raises:
        KeyError, TypeError, ValueError: it is not what ``to_json`` gives.
    """
    num_steps = int(value["num_steps"])
    width = len(value["variances"])
    strategies = {}
    for name, found in value["strategies"].items():
        if name == PER_DIMENSION:
            own = [_plan(jumps, num_steps) for jumps in found["merges"]]
            shared: dict[tuple[tuple[int, ...], ...], Plan] = {}  # equal plans are one object
            plans = tuple(shared.setdefault(outline(plan), plan) for plan in own)
        else:
            plans = (_plan(found["merges"], num_steps),) * width
        operator = np.array(found["operator"], dtype=np.float64)
        if not len(plans) == len(operator) == width:
            raise ValueError(
                f"{name}: {len(plans)} plans and {len(operator)} operators for {width} variances"
            )
        strategies[name] = StrategyPlans(plans, operator, found["w2_squared"], found["optimal"])
    return PlanSet(
        num_steps=num_steps,
        train_time=value["train_time"],
        budget=value["budget"],
        variances=np.array(value["variances"], dtype=np.float64),
        surrogate=np.array(value["surrogate"], dtype=np.float64),
        lower_bound=value["lower_bound"],
        strategies=strategies,
    )


def read_plans(path: Path) -> PlanSet:
    """The plans that scripts/plan_merges.py wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or something else.
    """
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not a whole plans.json ({type(error).__name__}: {error}); "
            "write it again: python -m scripts.plan_merges"
        ) from error


def _merges(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "interval": [jump.stop + 1, jump.start],
            "children": [[part.stop + 1, part.start] for part in reversed(jump.parts)],
        }
        for jump in merges(plan)
    ]


def _plan(jumps: list[dict[str, Any]], num_steps: int) -> Plan:
    done = {(t, t): step(t) for t in range(1, num_steps + 1)}
    for jump in jumps:
        whole = merge(*(done.pop((a, b)) for a, b in reversed(jump["children"])))
        a, b = jump["interval"]
        if (whole.stop + 1, whole.start) != (a, b):
            raise ValueError(f"children {jump['children']} do not tile the interval [{a}, {b}]")
        done[a, b] = whole
    if list(done) != [(1, num_steps)]:
        raise ValueError(f"merges leave the blocks {sorted(done)[:4]}, not one of all steps")
    return done[1, num_steps]
