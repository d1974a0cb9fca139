import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.total_budget import plans_under_total
from tests.brute_force import every_algorithm_1_plan

VARIANCES = np.array([0.0, 0.3, 0.9, 1.0, 1.1, 1.5, 3.0])


def test_a_total_budget_is_shared_by_the_merges_and_a_per_merge_one_is_not():
    problem = make_problem(cosine_schedule(8), np.array([0.5, 1.5]))
    plan = CANONICAL["progressive"](8)  # seven merges
    for kind, time in (("total", 0.3), ("per_merge", 2.1)):
        expected = operator_under(Budget(0.3), [plan] * 2, problem)
        found = operator_under(Budget(2.1, kind), [plan] * 2, problem)
        same = np.allclose(found, expected, rtol=1e-12)
        assert same == (time == 0.3)
    vanilla = [CANONICAL["vanilla"](8)] * 2
    np.testing.assert_array_equal(
        operator_under(Budget(2.1, "total"), vanilla, problem),
        operator_under(Budget(2.1), vanilla, problem),
    )


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="one of per_merge, total, best_split, got 'none'"):
        Budget(1.0, "none")


@pytest.mark.parametrize("num_steps", [1, 2, 4, 7])
@pytest.mark.parametrize("total_time", [0.05, 0.8, 6.4, 60.0])
def test_no_plan_beats_the_optimal_one_under_a_total_budget(num_steps, total_time):
    budget = Budget(total_time, "total")
    problem = make_problem(cosine_schedule(num_steps), VARIANCES)
    plans = plans_under_total(
        problem.operators, problem.second_moments, problem.direction, total_time
    )
    found = operator_under(budget, plans, problem)
    rivals = [
        operator_under(budget, [plan] * len(VARIANCES), problem)
        for plan in every_algorithm_1_plan(1, num_steps)
    ]
    least = np.abs(problem.surrogate - np.stack(rivals)).min(axis=0)
    np.testing.assert_allclose(np.abs(problem.surrogate - found), least, rtol=1e-9, atol=1e-14)


def test_at_equal_total_training_vanilla_overtakes_boot():
    """Per merge BOOT is best for lam <= 1, with T - 1 times the training of vanilla."""
    problem = make_problem(cosine_schedule(32), np.array([0.2, 0.5, 0.9]))
    errors = {
        (name, kind): np.abs(
            problem.surrogate
            - operator_under(Budget(6.4, kind), [CANONICAL[name](32)] * 3, problem)
        )
        for name in ("vanilla", "sequential_boot")
        for kind in ("per_merge", "total")
    }
    assert (errors["sequential_boot", "per_merge"] < errors["vanilla", "per_merge"]).all()
    assert (errors["sequential_boot", "total"] > 1e3 * errors["vanilla", "total"]).all()


def test_too_many_steps_for_a_total_budget_are_refused():
    problem = make_problem(cosine_schedule(65), np.array([0.5]))
    with pytest.raises(ValueError, match="num_steps = 65 is too many"):
        plans_under_total(problem.operators, problem.second_moments, problem.direction, 1.0)
