import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.plan import merges
from planner.problem import make_problem
from planner.split import best_split, onto_simplex, split_loss
from planner.strategies import CANONICAL, sequential_boot
from planner.total_budget import plans_under_total
from planner.value import w2_squared
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
    with pytest.raises(ValueError, match="one of per_merge, total, got 'none'"):
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


def split_of(plan, problem, total_time):
    noised = problem.second_moments
    times = best_split(plan, problem.operators, noised, problem.surrogate, total_time)

    def loss(some_times):
        return split_loss(
            list(merges(plan)), some_times, problem.operators, noised, problem.surrogate
        )

    return times, loss


@pytest.mark.parametrize("name", CANONICAL)
def test_the_gradient_of_a_split_is_that_of_finite_differences(name):
    plan = CANONICAL[name](7)
    times, loss = split_of(plan, make_problem(cosine_schedule(7), np.array([0.4, 1.3])), 2.0)
    point = times * 0.5 + 0.1
    _, gradient = loss(point)
    nudges = 1e-6 * np.eye(len(point))
    slopes = [(loss(point + nudge)[0] - loss(point - nudge)[0]) / 2e-6 for nudge in nudges]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", CANONICAL)
def test_no_random_split_beats_the_best_one(name):
    plan, total = CANONICAL[name](9), 3.0
    problem = make_problem(cosine_schedule(9), np.array([0.3, 0.8, 1.4]))
    times, loss = split_of(plan, problem, total)
    assert times.sum() == pytest.approx(total, rel=1e-12)
    assert (times >= 0).all()
    best = loss(times)[0]
    equal = operator_under(Budget(total, "total"), [plan] * 3, problem)
    assert best <= float(w2_squared(equal, problem.surrogate)) * (1 + 1e-12)
    rng = np.random.default_rng(0)
    for scale in (0.3, 1.0, 10.0):
        for shares in rng.dirichlet(np.full(len(times), scale), 100):
            assert best <= loss(total * shares)[0] * (1 + 1e-9)


def test_the_best_split_of_boot_equalises_what_more_training_would_gain():
    """a = A_T prod_t (A_t + g_t (1 - A_t)), g_t = exp(-2 s_t): convex, so the optimum has

        (1 - A_t) g_t / (A_t + g_t (1 - A_t)) = c

    for every merge that is trained at all, and c is found here by bisection.
    """
    num_steps, total = 12, 4.0
    problem = make_problem(cosine_schedule(num_steps), np.array([0.4]))
    times, _ = split_of(sequential_boot(num_steps), problem, total)
    kept = problem.operators[-2::-1, 0]  # absorbed A_{T-1}, ..., A_1
    low, high = 1e-12, 1.0
    for _ in range(200):
        c = np.sqrt(low * high)
        g = np.minimum(1.0, c * kept / ((1.0 - c) * (1.0 - kept)))
        low, high = (c, high) if -0.5 * np.log(g).sum() > total else (low, c)
    np.testing.assert_allclose(times, -0.5 * np.log(g), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.1, 4.0))
def test_the_simplex_point_is_the_nearest_one(point, total):
    point = np.array(point)
    nearest = onto_simplex(point, total)
    assert nearest.sum() == pytest.approx(total)
    assert (nearest >= 0).all()
    rivals = total * np.random.default_rng(0).dirichlet(np.ones(len(point)), 50)
    distances = np.linalg.norm(rivals - point, axis=1)
    assert np.linalg.norm(nearest - point) <= distances.min() + 1e-12
