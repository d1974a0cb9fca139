import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule, linear_beta_schedule
from planner.budget import Budget, operator_under
from planner.problem import make_problem
from planner.total_bounds import bounded_plans
from planner.total_budget import plans_under_total
from tests.brute_force import every_algorithm_1_plan

# Near 1 many numbers of merges compete. Elsewhere vanilla or BOOT wins by far.
VARIANCES = np.array([0.0, 0.3, 0.9, 1.0, 1.005, 1.02, 1.03, 1.06, 1.1, 1.5, 3.0])
ROUNDING = {"rtol": 1e-11, "atol": 1e-15}


def assert_bounded(problem, total_time, optimum):
    """No plan passes the bound, and the plans reach it: they are optimal.

    Args:
        optimum: The best operators, from elsewhere, (d,).
    """
    plans, limits = bounded_plans(problem, problem.second_moments, total_time)
    found = operator_under(Budget(total_time, "total"), plans, problem)
    np.testing.assert_allclose(found, optimum, **ROUNDING)
    np.testing.assert_allclose(limits, optimum, **ROUNDING)


@pytest.mark.parametrize("total_time", [0.05, 0.5, 6.4, 200.0])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 7])
def test_the_plans_are_the_best_of_all(num_steps, total_time):
    problem = make_problem(cosine_schedule(num_steps), VARIANCES)
    rivals = [
        operator_under(Budget(total_time, "total"), [plan] * len(VARIANCES), problem)
        for plan in every_algorithm_1_plan(1, num_steps)
    ]
    assert_bounded(
        problem, total_time, problem.direction * (problem.direction * np.stack(rivals)).max(axis=0)
    )


@pytest.mark.parametrize("schedule", [cosine_schedule, linear_beta_schedule])
@pytest.mark.parametrize("total_time", [0.5, 6.4, 20.0, 2000.0])
@pytest.mark.parametrize("num_steps", [16, 32])
def test_the_plans_are_those_of_the_exact_program(num_steps, total_time, schedule):
    problem = make_problem(schedule(num_steps), VARIANCES)
    exact = plans_under_total(
        problem.operators, problem.second_moments, problem.direction, total_time
    )
    assert_bounded(problem, total_time, operator_under(Budget(total_time, "total"), exact, problem))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 14), st.floats(0.9, 1.2), st.floats(0.01, 100.0))
def test_without_the_exact_program_the_bounds_still_hold(num_steps, variance, total_time):
    problem = make_problem(cosine_schedule(num_steps), np.array([variance]))
    exact = plans_under_total(
        problem.operators, problem.second_moments, problem.direction, total_time
    )
    (optimum,) = problem.direction * operator_under(Budget(total_time, "total"), exact, problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.total_bounds.MOST_OPERATIONS", 0)
        plans, limits = bounded_plans(problem, problem.second_moments, total_time)
    (found,) = problem.direction * operator_under(Budget(total_time, "total"), plans, problem)
    (limit,) = problem.direction * limits
    assert found <= optimum + 1e-12
    assert limit >= optimum - 1e-12
    target = float(problem.direction[0] * problem.surrogate[0])
    assert limit <= target + 1e-12  # so a limit is never farther from the target than a plan
