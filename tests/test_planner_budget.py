import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.merge_counts import best_merge_counts
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.total_budget import fill_counts, plans_under_total
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


@pytest.mark.parametrize("num_steps", [2, 3, 9, 16])
@pytest.mark.parametrize("total_time", [0.05, 6.4, 60.0, 4e3])
def test_numbers_of_merges_that_are_not_tried_would_not_have_been_better(num_steps, total_time):
    """Bit by bit the first best number of merges, also where rounding alone tells them apart."""
    variances = np.append(VARIANCES, [1.02, 1.04, 1.2, 30.0])
    problem = make_problem(cosine_schedule(num_steps), variances)
    rows = [np.ascontiguousarray(of.T) for of in (problem.operators, problem.second_moments)]
    counts = best_merge_counts(*rows, problem.direction, total_time)
    for own, (operators, rates, direction) in zip(
        counts, zip(*rows, problem.direction, strict=True), strict=True
    ):
        values = []
        for count in range(1, num_steps):
            table = np.full((num_steps, num_steps, count + 1), -np.inf)
            cuts = np.empty((*table.shape, 2), np.int16)
            shrinkage = np.exp(-2.0 * total_time / count * rates)
            fill_counts(table, cuts, operators, shrinkage, direction, count)
            values.append(table[0, -1, count])
        assert own == 1 + np.argmax(values)


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
