import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule
from planner.per_dimension import (
    optimal_values,
    per_dimension_plans,
    settled_by_theory,
)
from planner.plan import merges
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator, plan_operator, w2_squared
from tests.brute_force import every_algorithm_1_plan, every_plan
from tests.problems import assert_no_error_is_below, greedy_plan, posed, problem

VARIANCES = st.floats(0.0, 20.0)
TRAIN_TIMES = st.sampled_from([0.1, 0.8, 1.6, 6.4])


@pytest.mark.parametrize("nary", [False, True])
@pytest.mark.parametrize("num_steps", range(1, 8))
def test_no_plan_of_one_coordinate_beats_the_optimal_one(num_steps, nary):
    rng = np.random.default_rng(num_steps)
    plans = list((every_plan if nary else every_algorithm_1_plan)(1, num_steps))
    for train_time in (0.2, 1.6, 6.4):
        variances = np.concatenate([[0.0, 1.0, 1.02, 1.2, 1.5, 2.0], rng.uniform(0, 20, 4)])
        operators, shrinkage, surrogate = problem(num_steps, variances, train_time)
        rivals = np.stack([plan_operator(plan, operators, shrinkage) for plan in plans])
        for full_search in (False, True):
            chosen = per_dimension_plans(
                posed(operators, shrinkage, variances), nary=nary, full_search=full_search
            )
            found = per_dimension_operator(chosen, operators, shrinkage)
            assert_no_error_is_below(found, rivals, surrogate)
            values = optimal_values(
                posed(operators, shrinkage, variances), nary=nary, full_search=full_search
            )
            np.testing.assert_allclose(found, values, rtol=1e-13)


@pytest.mark.parametrize("num_steps", range(1, 8))
def test_algorithm_1_is_exact_for_one_coordinate(num_steps):
    plans = list(every_algorithm_1_plan(1, num_steps))
    for train_time, variance in itertools.product(
        (0.2, 1.6, 6.4), (0.0, 0.7, 1.0, 1.02, 2.0, 11.0)
    ):
        operators, shrinkage, surrogate = problem(num_steps, [variance], train_time)
        rivals = np.stack([plan_operator(plan, operators, shrinkage) for plan in plans])
        found = plan_operator(greedy_plan(operators, shrinkage, [variance]), operators, shrinkage)
        assert_no_error_is_below(found, rivals, surrogate)


@pytest.mark.parametrize(
    ("num_steps", "variances", "expected"),
    [
        (16, (1.02, 1.8), 4.001866e-03),
        (16, (1.08, 1.6), 1.504947e-03),
        (16, (0.97, 1.10), 7.879729e-04),
        (8, (0.97, 1.10), 9.061308e-03),
    ],
)
def test_algorithm_1_gives_the_values_of_the_specification(num_steps, variances, expected):
    operators, shrinkage, surrogate = problem(num_steps, variances, train_time=1.6)
    plan = greedy_plan(operators, shrinkage, variances)
    found = w2_squared(plan_operator(plan, operators, shrinkage), surrogate)
    assert found == pytest.approx(expected, rel=2e-7)


def test_one_plan_for_all_never_beats_one_plan_each():
    rng = np.random.default_rng(5)
    for _ in range(20):
        variances = rng.uniform(0, 4, 6)
        operators, shrinkage, surrogate = problem(12, variances, rng.uniform(0.1, 5))
        joint = plan_operator(greedy_plan(operators, shrinkage, variances), operators, shrinkage)
        plans = per_dimension_plans(posed(operators, shrinkage, variances))
        apart = per_dimension_operator(plans, operators, shrinkage)
        assert w2_squared(apart, surrogate) <= w2_squared(joint, surrogate) * (1 + 1e-12)


@pytest.mark.parametrize("num_steps", [8, 32])
@pytest.mark.parametrize("train_time", [1.6, 3.2, 6.4])
def test_boot_is_optimal_up_to_unit_variance_and_vanilla_from_the_threshold_on(
    num_steps, train_time
):
    """[OM] Theorems 4.3 and 4.2, the latter with the threshold of ERRATA P-4."""
    threshold = 2 / (1 - np.tan(np.pi / (4 * num_steps)) ** 2)
    for name, variances in (
        ("sequential_boot", np.linspace(0, 1, 11)),
        ("vanilla", threshold + np.array([1e-6, 0.1, 1.0, 10.0])),
    ):
        operators, shrinkage, _ = problem(num_steps, variances, train_time)
        plans = per_dimension_plans(posed(operators, shrinkage, variances))
        best = per_dimension_operator(plans, operators, shrinkage)
        canonical = plan_operator(CANONICAL[name](num_steps), operators, shrinkage)
        np.testing.assert_allclose(best, canonical, rtol=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0) | st.floats(2.5, 20.0), st.integers(2, 40), TRAIN_TIMES)
def test_longer_training_never_worsens_the_optimum_outside_the_hybrid_regime(
    variance, num_steps, train_time
):
    short, long = (best_error(num_steps, variance, time) for time in (train_time, 1.5 * train_time))
    assert long <= short + 1e-13 * max(1.0, variance)


def test_longer_training_can_worsen_the_optimum_in_the_hybrid_regime():
    """There the student learns contractions that the surrogate leaves out."""
    assert best_error(2, 2.0, 0.15) > best_error(2, 2.0, 0.1)


def best_error(num_steps, variance, train_time):
    operators, shrinkage, surrogate = problem(num_steps, [variance], train_time)
    best = optimal_values(posed(operators, shrinkage, np.array([variance])), full_search=True)
    return abs(surrogate[0] - best[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_a_merge_rises_in_each_of_its_parts(seed, num_steps):
    """What makes the scalar program exact: a better part never makes a worse whole."""
    rng = np.random.default_rng(seed)
    operators, shrinkage = rng.uniform(0.1, 2, (num_steps, 1)), rng.uniform(0, 1, (num_steps, 1))
    raised = operators.copy()
    raised[rng.integers(num_steps)] += rng.uniform(0, 1)
    for plan in every_algorithm_1_plan(1, num_steps):
        before, after = (plan_operator(plan, steps, shrinkage) for steps in (operators, raised))
        assert after[0] >= before[0] * (1 - 1e-14)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(1, 40), TRAIN_TIMES)
def test_boot_is_optimal_for_every_variance_up_to_1(variance, num_steps, train_time):
    assert_settled("sequential_boot", variance, num_steps, train_time, nary=True)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-9, 50.0), st.integers(2, 40), TRAIN_TIMES)
def test_vanilla_is_optimal_from_its_threshold_on(excess, num_steps, train_time):
    threshold = 2 / (1 - np.tan(np.pi / (4 * num_steps)) ** 2)
    assert_settled("vanilla", threshold * (1 + excess), num_steps, train_time, nary=True)


def assert_settled(name, variance, num_steps, train_time, nary):
    variances = np.array([variance])
    operators, shrinkage, _ = problem(num_steps, variances, train_time)
    assert settled_by_theory(posed(operators, shrinkage, variances)).tolist() == [name]
    known = plan_operator(CANONICAL[name](num_steps), operators, shrinkage)
    searched = optimal_values(posed(operators, shrinkage, variances), nary=nary, full_search=True)
    np.testing.assert_allclose(known, searched, rtol=1e-12)


def test_theory_is_not_stretched_beyond_its_conditions():
    variances = np.array([0.5, 0.5, 3.0])
    operators, shrinkage, _ = problem(8, variances, 1.0)
    shrinkage[:, 1] = shrinkage[::-1, 1]  # rises with t: BOOT trains where it learns least
    operators[3, 2] = 0.99  # one step that contracts
    assert settled_by_theory(posed(operators, shrinkage, variances)).tolist() == [
        "sequential_boot",
        "",
        "",
    ]


@pytest.mark.parametrize("train_time", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_training_time_is_refused(train_time):
    with pytest.raises(ValueError, match=f"train_time must be .* got {train_time}"):
        make_problem(cosine_schedule(4), np.array([0.5])).with_training(train_time)


def test_one_step_needs_no_merge():
    variances = [0.5, 2.0]
    operators, shrinkage, _ = problem(1, variances, 1.0)
    assert not list(merges(greedy_plan(operators, shrinkage, variances)))
    assert not any(
        list(merges(plan)) for plan in per_dimension_plans(posed(operators, shrinkage, variances))
    )


def test_the_planner_never_loads_torch():
    modules = ", ".join(f"planner.{path.stem}" for path in Path("planner").glob("[a-z]*.py"))
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
