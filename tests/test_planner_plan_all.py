import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.budget import Budget
from planner.plan_all import plan_every_strategy
from planner.plan_set import from_json, to_json
from planner.problem import make_problem
from planner.strategies import CANONICAL


def table(num_steps, variances, budget, full_search=False):
    lines = []
    problem = make_problem(cosine_schedule(num_steps), np.array(variances))
    found = plan_every_strategy(problem, budget, full_search=full_search, log=lines.append)
    return found, lines


@pytest.mark.parametrize("kind", ["per_merge", "total"])
def test_nothing_is_below_the_lower_bound_and_what_is_optimal_is_least(kind):
    for variances in ([0.5, 1.08], [0.2, 0.9, 1.0, 1.3]):
        found, _ = table(12, variances, Budget(1.6, kind))
        least = min(s.w2_squared for n, s in found.strategies.items() if n != "per_dimension")
        for name, strategy in found.strategies.items():
            assert strategy.w2_squared >= found.lower_bound
            if strategy.optimal and name != "per_dimension":
                assert strategy.w2_squared == pytest.approx(least, rel=1e-9)
        assert found.strategies["per_dimension"].w2_squared == found.lower_bound
        assert found.strategies["beam"].w2_squared == pytest.approx(least, rel=1e-3)
        assert ("pareto" in found.strategies) == (kind == "per_merge")


def test_a_canonical_strategy_is_called_optimal_where_it_is():
    found, _ = table(16, [0.2, 0.7], Budget(1.6))
    assert found.strategies["sequential_boot"].optimal
    assert not found.strategies["vanilla"].optimal
    found, _ = table(16, [2.5, 7.0], Budget(1.6))
    assert found.strategies["vanilla"].optimal
    assert not found.strategies["sequential_boot"].optimal


def test_how_coordinates_are_planned_is_said_and_a_full_search_agrees():
    variances = [0.5, 0.7, 1.3, 5.0]
    quick, lines = table(20, variances, Budget(0.8))
    assert lines == [
        "theory settles 2 coordinates (BOOT) and 1 (vanilla) in O(T)",
        "1 coordinates are searched in full, with 0.0032 MB of tables",
    ]
    full, lines = table(20, variances, Budget(0.8), full_search=True)
    assert lines[0].startswith("4 coordinates are searched in full")
    assert full.lower_bound == pytest.approx(quick.lower_bound, rel=1e-10)


def test_a_solver_that_would_not_end_is_left_out_with_its_reason():
    found, lines = table(8, np.linspace(0.5, 1.5, 7), Budget(0.8))
    assert "pareto" not in found.strategies
    assert lines[-1] == "pareto is left out: 7 coordinates are more than 6"
    assert {"greedy", "beam"} <= set(found.strategies)


def test_many_steps_under_a_total_budget_leave_the_canonical_strategies():
    found, lines = table(65, [0.5, 1.4], Budget(3.2, "total"))
    assert lines == [
        "canonical strategies only, no lower bound: planning for a total budget takes at most 64 "
        "steps, not 65"
    ]
    assert list(found.strategies) == list(CANONICAL)
    assert found.lower_bound is None
    assert not any(strategy.optimal for strategy in found.strategies.values())
    assert from_json(to_json(found)).lower_bound is None
