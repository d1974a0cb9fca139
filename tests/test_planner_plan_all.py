import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.budget import Budget
from planner.effort import Effort
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import distinct, num_merges
from planner.plan_all import plan_every_strategy
from planner.plan_file import from_json, to_json
from planner.problem import make_problem
from planner.strategies import CANONICAL

GREEDY = Effort(("greedy",))


def table(num_steps, variances, budget, full_search=False, parametrisation=OPERATOR, **options):
    lines = []
    problem = make_problem(cosine_schedule(num_steps), np.array(variances), parametrisation)
    found = plan_every_strategy(
        problem, budget, full_search=full_search, log=lines.append, **options
    )
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


def test_too_many_steps_under_a_total_budget_leave_the_canonical_strategies():
    found, lines = table(1000, [0.5, 1.4], Budget(3.2, "total"))
    assert lines == [
        "canonical strategies only, no lower bound: plans for a total budget would take about 83 s "
        "for 1000 steps and 2 coordinates, more than 60 s"
    ]
    assert list(found.strategies) == list(CANONICAL)
    assert found.lower_bound is None
    assert not any(strategy.optimal for strategy in found.strategies.values())
    assert from_json(to_json(found)).lower_bound is None


def test_more_steps_than_the_exact_program_takes_are_planned_with_a_proven_bound():
    found, lines = table(65, [0.5, 1.4], Budget(3.2, "total"), effort=GREEDY)
    assert "the plans of 2 of 2 coordinates are proven optimal" in lines
    own = found.strategies["per_dimension"]
    assert own.optimal
    assert found.lower_bound == pytest.approx(own.w2_squared, rel=1e-9)
    assert all(plans.w2_squared >= found.lower_bound for plans in found.strategies.values())
    again, _ = table(65, [0.5, 1.4], Budget(3.2, "total"), effort=GREEDY, known=found)
    assert to_json(again) == to_json(found)


def test_bounds_give_the_errors_of_the_exact_program_where_it_would_take_long(monkeypatch):
    variances, budget = np.linspace(0.8, 1.3, 12), Budget(6.4, "total")
    exact, _ = table(24, variances, budget, effort=GREEDY)
    monkeypatch.setattr("planner.total_bounds.MOST_EXACT", 0)
    found, lines = table(24, variances, budget, effort=GREEDY)
    assert "the plans of 12 of 12 coordinates are proven optimal" in lines
    for name, strategy in exact.strategies.items():
        assert found.strategies[name].w2_squared == pytest.approx(strategy.w2_squared, rel=1e-9)
        assert found.strategies[name].optimal == strategy.optimal
    assert found.lower_bound == pytest.approx(exact.lower_bound, rel=1e-9)


def test_a_bound_that_no_plan_reaches_is_told_and_nothing_is_called_optimal(monkeypatch):
    monkeypatch.setattr("planner.total_bounds.MOST_OPERATIONS", 0)
    found, lines = table(66, [0.5, 1.03], Budget(6.4, "total"), effort=GREEDY)
    own = found.strategies["per_dimension"]
    assert found.lower_bound < own.w2_squared
    assert not own.optimal
    gap = own.w2_squared - found.lower_bound
    assert (
        "the plans of 1 of 2 coordinates are proven optimal; W2² of the others is at most "
        f"{gap:.1e} above the optimum"
    ) in lines


def test_denoisers_are_planned_by_theory_where_it_knows_the_answer():
    for loss, law in (("x_0", "gradient_flow"), ("v", "gradient_flow"), ("x_0", "constant_speed")):
        chosen = Parametrisation("denoiser", loss, law=law)
        for kind, name, merges in (("per_merge", "BOOT", 11), ("total", "vanilla", 1)):
            found, lines = table(12, [0.2, 0.9, 3.0], Budget(0.4, kind), parametrisation=chosen)
            assert lines[0].startswith(f"theory settles 3 coordinates: {name} is optimal")
            for solver in ("greedy", "beam", "pareto", "per_dimension"):
                strategy = found.strategies[solver]
                assert [num_merges(plan) for plan in distinct(strategy.plans)] == [merges]
                assert strategy.optimal
            searched, _ = table(12, [0.2, 0.9, 3.0], Budget(0.4, kind), True, chosen)
            assert searched.lower_bound == pytest.approx(found.lower_bound, rel=1e-10, abs=1e-24)
            assert found.parametrisation == chosen


def test_denoisers_with_a_loss_in_z_are_searched_and_bounded():
    chosen = Parametrisation("denoiser", "z")
    found, lines = table(16, [0.02, 0.2, 0.5, 2.0], Budget(0.3), parametrisation=chosen)
    assert lines == ["4 coordinates are searched, in O(T**2) each"]
    least = min(s.w2_squared for n, s in found.strategies.items() if n != "per_dimension")
    assert found.lower_bound < least == found.strategies["pareto"].w2_squared
    assert found.strategies["pareto"].optimal
    assert found.strategies["beam"].w2_squared == pytest.approx(least, rel=1e-3)
    assert len(distinct(found.strategies["per_dimension"].plans)) == 4
    assert to_json(from_json(to_json(found))) == to_json(found)


def test_a_learning_rate_that_overshoots_on_long_jumps_proves_nothing_in_total():
    problem = make_problem(
        cosine_schedule(6), np.array([0.5, 2.0]), Parametrisation("denoiser", "z")
    )
    lines = []

    def decay(rates):  # one gradient step with 2 ds = 1.5 overshoots where n w is above 2/3
        return -np.log(np.abs(1.0 - 1.5 * rates)) / 1.5

    found = plan_every_strategy(problem, Budget(0.75, "total", decay), log=lines.append)
    assert lines == [
        "canonical strategies only, no lower bound: at this learning rate a longer jump trains "
        "less than a shorter one"
    ]
    assert list(found.strategies) == list(CANONICAL)
