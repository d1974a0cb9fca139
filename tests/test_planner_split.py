"""The best division of a total time over merges, against grids, another solver and all plans."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from diffusion.schedule import (
    cosine_schedule,
    linear_beta_schedule,
    scaled_linear_schedule,
    subsampled,
)
from planner.budget import Budget, operator_under, whole_parts
from planner.parametrisation import Parametrisation
from planner.plan import merge, num_merges, step
from planner.plan_all import plan_every_strategy
from planner.plan_file import from_json, to_json
from planner.plan_set import PER_DIMENSION
from planner.problem import make_problem
from planner.split import best_alone, best_split, operator_of_split
from planner.strategies import CANONICAL, sequential_boot
from tests.brute_force import every_plan

VARIANCES = np.array([0.0, 0.3, 0.9, 1.02, 1.5, 3.0])
DENOISER = Parametrisation("denoiser", "z")


def total(train_time):
    return Budget(train_time, "best_split")


def error(problem, plan, shares, total_time):
    operator = operator_of_split(problem, plan, tuple(shares), total(total_time))
    return float(problem.distance(operator, problem.target))


def simplex_grid(count, parts):
    """All splits into multiples of 1 / parts."""
    for whole in product(range(parts + 1), repeat=count - 1):
        if sum(whole) <= parts:
            yield np.array([*whole, parts - sum(whole)]) / parts


def test_the_operator_of_a_split_is_the_recursion_by_hand():
    problem = make_problem(cosine_schedule(3), np.array([0.4, 1.7]))
    (a_1, a_2, a_3), (_, n_2, n_3) = problem.operators, problem.second_moments
    plan = merge(step(3), merge(step(2), step(1)))
    inner = a_2 * (a_1 + np.exp(-2 * 0.5 * n_2) * (1 - a_1))
    expected = a_3 * (inner + np.exp(-2 * 1.5 * n_3) * (1 - inner))
    found = operator_of_split(problem, plan, (0.25, 0.75), total(2.0))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("students", [None, DENOISER])
def test_equal_shares_are_the_total_budget(students):
    kind = {} if students is None else {"parametrisation": students}
    problem = make_problem(cosine_schedule(7), VARIANCES, **kind)
    for make in CANONICAL.values():
        plan = make(7)
        equal = operator_of_split(
            problem, plan, (1 / num_merges(plan),) * num_merges(plan), total(2.4)
        )
        same = operator_under(Budget(2.4, "total"), [plan] * len(VARIANCES), problem)
        np.testing.assert_allclose(equal, same, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("total_time", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("variances", [[0.5], [0.2, 0.9], [0.9, 1.02, 1.5], [1.02], [0.0, 3.0]])
@pytest.mark.parametrize("students", [None, DENOISER])
def test_no_split_of_a_fine_grid_is_better(students, variances, total_time):
    kind = {} if students is None else {"parametrisation": students}
    problem = make_problem(cosine_schedule(4), np.array(variances), **kind)
    for plan in every_plan(1, 4):
        shares = best_split(problem, plan, total(total_time))
        assert sum(shares) == pytest.approx(1, abs=1e-12)
        assert min(shares) >= 0
        found = error(problem, plan, shares, total_time)
        grid = simplex_grid(num_merges(plan), 24)
        least = min(error(problem, plan, split, total_time) for split in grid)
        assert found <= least * (1 + 1e-7) + 1e-25


def test_many_random_starts_find_no_better_split():
    """By another solver: SLSQP, from 12 random splits."""
    problem = make_problem(cosine_schedule(9), np.array([0.1, 0.6, 1.05, 2.0]))
    generator = np.random.default_rng(0)
    for name in ("progressive", "sequential_boot", "sequential_consistency"):
        plan = CANONICAL[name](9)
        found = error(problem, plan, best_split(problem, plan, total(1.5)), 1.5)

        def log_error(shares, plan=plan):
            return np.log(error(problem, plan, np.maximum(shares, 0), 1.5))

        for _ in range(12):
            rival = optimize.minimize(
                log_error,
                generator.dirichlet(np.ones(8)),
                method="SLSQP",
                bounds=[(0, 1)] * 8,
                constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
            )
            assert np.log(found) <= rival.fun + 1e-6


def test_boot_spreads_training_as_the_conditions_of_its_convex_problem_say():
    """For one lam <= 1: equal slopes of log V where a merge trains, and none steeper elsewhere."""
    problem = make_problem(cosine_schedule(12), np.array([0.6]))
    shares = np.array(best_split(problem, sequential_boot(12), total(0.8)))
    order = problem.operators[-2::-1, 0]  # BOOT absorbs the steps T-1, ..., 1
    g = np.exp(-2 * 0.8 * shares * problem.second_moments[-1, 0])
    slopes = (1 - order) * g / (order + (1 - order) * g)
    trains = shares > 1e-6
    assert 2 <= trains.sum() <= 11
    np.testing.assert_allclose(slopes[trains], slopes[trains].mean(), rtol=1e-3)
    assert (slopes[~trains] <= slopes[trains].mean() * (1 + 1e-3)).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 5),
    st.one_of(st.floats(0, 1), st.floats(1, 1.2), st.floats(1.2, 4)),
    st.floats(0.01, 20),
    st.sampled_from([cosine_schedule, linear_beta_schedule]),
    st.integers(0, 1000),
)
def test_no_plan_with_any_split_is_better_than_the_best_alone(
    num_steps, variance, total_time, make_schedule, seed
):
    problem = make_problem(make_schedule(num_steps), np.array([variance]))
    plan, shares = best_alone(problem.operators[:, 0], variance > 1)
    assert sum(shares) == 1
    (found,) = problem.direction * operator_of_split(problem, plan, shares, total(total_time))
    generator = np.random.default_rng(seed)
    for rival in every_plan(1, num_steps):
        count = num_merges(rival)
        for split in (*np.eye(count), *generator.dirichlet(np.ones(count), 3)):
            (value,) = problem.direction * operator_of_split(
                problem, rival, split, total(total_time)
            )
            assert value <= found + 1e-14


def test_the_best_alone_reaches_the_bound_of_the_theory():
    for schedule in (cosine_schedule(20), subsampled(scaled_linear_schedule(), 20)):
        problem = make_problem(schedule, np.array([0.3, 1.0, 1.02, 1.3, 4.0]))
        for i, variance in enumerate(problem.variances):
            own = problem.select(np.array([i]))
            a, g = own.operators[:, 0], np.exp(-2 * 1.7 * own.second_moments[-1, 0])
            steps = np.maximum(a[:-1], 1) if variance > 1 else a[:-1]
            plan, shares = best_alone(a, variance > 1)
            (found,) = operator_of_split(own, plan, shares, total(1.7))
            np.testing.assert_allclose(found, a[-1] * ((1 - g) * steps.prod() + g), rtol=1e-13)


@given(st.integers(0, 1000), st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_whole_steps_follow_the_shares_and_none_is_left_over(steps, weights):
    whole = sum(weights)
    shares = tuple(w / whole for w in weights) if whole > 0 else (1.0,)
    parts = whole_parts(steps, shares)
    assert sum(parts) == steps
    assert all(abs(n - steps * x) < 1 + 1e-6 for n, x in zip(parts, shares, strict=True))


def planned(variances, students=None, student_steps=1, num_steps=8):
    kind = {} if students is None else {"parametrisation": students}
    problem = make_problem(cosine_schedule(num_steps), np.array(variances), **kind)
    budget = Budget(1.5, "best_split")
    return problem, plan_every_strategy(problem, budget, student_steps=student_steps)


@pytest.mark.parametrize("students", [None, DENOISER])
def test_every_strategy_gains_and_respects_the_bound(students):
    problem, found = planned([0.2, 0.8, 1.03, 2.5], students)
    assert found.budget == "best_split"
    for each in found.strategies.values():
        equal = operator_under(Budget(1.5, "total"), each.plans, problem)
        assert each.w2_squared <= problem.distance(equal, problem.target) * (1 + 1e-12)
        assert each.w2_squared >= found.lower_bound * (1 - 1e-12)
        assert each.optimal == (each.w2_squared <= found.lower_bound * (1 + 1e-9) + 1e-28)
        assert [len(own) for own in each.shares] == [num_merges(plan) for plan in each.plans]
    beam = found.strategies["beam"].w2_squared
    assert all(
        beam <= each.w2_squared for name, each in found.strategies.items() if name != PER_DIMENSION
    )


@pytest.mark.parametrize("variances", [[0.2, 0.7, 1.0], [2.5, 4.0]])
def test_vanilla_is_proven_optimal_where_no_step_should_be_dropped(variances):
    _, found = planned(variances)
    assert found.strategies["vanilla"].optimal
    assert found.strategies["beam"].optimal


def test_plans_with_a_split_survive_their_file():
    _, found = planned([0.2, 1.03, 2.5])
    read = from_json(to_json(found))
    for name, each in found.strategies.items():
        assert read.strategies[name].plans == each.plans
        assert read.strategies[name].shares == each.shares


def test_damaged_shares_are_refused():
    _, found = planned([0.2, 1.03])
    for shares, message in (
        ([0.5, 0.5], "2 shares for 1 merges"),
        ([1.5], "must be at least 0 and sum to 1"),
        (["a"], "a share"),
    ):
        made = to_json(found)
        made["strategies"]["vanilla"]["shares"] = shares
        with pytest.raises(ValueError, match=message):
            from_json(made)
    made = to_json(found)
    del made["strategies"]["beam"]["shares"]
    with pytest.raises(ValueError, match="shares"):
        from_json(made)
    with pytest.raises(ValueError, match="for students of one step, not 2"):
        from_json(to_json(found) | {"student_steps": 2})


@pytest.mark.parametrize("students", [Parametrisation("denoiser", "x_0", law="constant_speed")])
def test_what_has_no_known_split_is_refused(students):
    with pytest.raises(ValueError, match="for the law gradient_flow only"):
        planned([0.5], students)
    with pytest.raises(ValueError, match="K = 1 only, not for K = 2"):
        planned([0.5], student_steps=2)
