import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from benchmarks.numpy_planner import best_choices
from diffusion.schedule import cosine_schedule
from planner.per_dimension import (
    few_step_plans,
    optimal_values,
    per_dimension_plans,
    table_bytes,
)
from planner.per_dimension_kernel import FAST, _best_merges, fill_table
from planner.plan import merges
from planner.problem import better_direction, make_problem
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator, plan_operator, product_operator
from tests.brute_force import compositions, every_algorithm_1_plan
from tests.problems import assert_no_error_is_below, posed, problem

VARIANCES = st.floats(0.0, 20.0)
TRAIN_TIMES = st.sampled_from([0.1, 0.8, 1.6, 6.4])
# The plans and the bits of the values of seven coordinates.
SEARCHED = """
import numpy as np
from planner.per_dimension import optimal_values, per_dimension_plans
from tests.problems import posed, problem

variances = np.linspace(0.0, 3.0, 7)
given = posed(*problem(40, variances, 1.6)[:2], variances)
print(per_dimension_plans(given, full_search=True))
print(optimal_values(given, full_search=True).tobytes().hex())
"""


def test_n_ary_merges_gain_what_the_errata_says():
    """ERRATA P-1: 3.3017e-5 -> 3.2869e-5 at T = 32, s = 1.6, lam = 1.2; nothing elsewhere."""
    variances = np.array([1.2, 0.5, 2.1])
    operators, shrinkage, surrogate = problem(32, variances, 1.6)
    pairs, nary = (
        np.square(
            surrogate
            - optimal_values(posed(operators, shrinkage, variances), nary=nary, full_search=True)
        )
        for nary in (False, True)
    )
    assert pairs[0] == pytest.approx(3.3017e-5, rel=2e-5)
    assert nary[0] == pytest.approx(3.2869e-5, rel=2e-5)
    np.testing.assert_allclose(nary[1:], pairs[1:], rtol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 6])
def test_no_few_step_student_beats_the_optimal_one(num_steps):
    variances = np.array([0.0, 0.4, 1.0, 1.1, 1.7, 6.0])
    operators, shrinkage, surrogate = problem(num_steps, variances, 0.8)
    tilings = [[(1, num_steps)], *compositions(1, num_steps)]
    for k in range(1, num_steps + 1):
        rivals = []
        for blocks in tilings:
            if len(blocks) == k:
                choices = [list(every_algorithm_1_plan(*block)) for block in blocks]
                rivals += [
                    product_operator(plans, operators, shrinkage)
                    for plans in itertools.product(*choices)
                ]
        chosen = few_step_plans(posed(operators, shrinkage, variances), k)
        found = np.array(
            [
                product_operator(plans, operators[:, i : i + 1], shrinkage[:, i : i + 1])[0]
                for i, plans in enumerate(chosen)
            ]
        )
        assert all(len(plans) == k for plans in chosen)
        assert_no_error_is_below(found, np.stack(rivals), surrogate)
        values = optimal_values(posed(operators, shrinkage, variances), num_operators=k)
        np.testing.assert_allclose(found, values, rtol=1e-13)


def test_all_operators_left_are_the_teacher_and_more_never_hurt():
    variances = np.array([0.3, 1.0, 1.3, 4.0])
    operators, shrinkage, surrogate = problem(12, variances, 0.4)
    errors = [
        np.abs(surrogate - optimal_values(posed(operators, shrinkage, variances), num_operators=k))
        for k in range(1, 13)
    ]
    np.testing.assert_allclose(errors[-1], np.abs(surrogate - operators.prod(axis=0)), atol=1e-15)
    below = variances <= 1  # above, the surrogate leaves out contractions that the teacher has
    assert (np.diff(np.stack(errors)[:, below], axis=0) <= 1e-15).all()


@pytest.mark.parametrize("num_operators", [0, 9])
def test_more_operators_than_steps_or_none_are_refused(num_operators):
    operators, shrinkage, _ = problem(8, [0.5], 1.0)
    with pytest.raises(ValueError, match=rf"num_operators .* num_steps = 8, got {num_operators}"):
        few_step_plans(posed(operators, shrinkage, np.array([0.5])), num_operators)


@settings(max_examples=40, deadline=None)
@given(st.lists(VARIANCES, min_size=1, max_size=5), st.integers(1, 48), TRAIN_TIMES)
def test_the_kernel_finds_what_numpy_finds(variances, num_steps, train_time):
    """The max reduction over rows against the program over whole arrays, at odd sizes too."""
    variances = np.array(variances)
    operators, shrinkage, _ = problem(num_steps, variances, train_time)
    found = optimal_values(posed(operators, shrinkage, variances), full_search=True)
    _, expected = best_choices(operators, shrinkage, better_direction(variances))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    plans = per_dimension_plans(posed(operators, shrinkage, variances), full_search=True)
    built = per_dimension_operator(plans, operators, shrinkage)
    np.testing.assert_allclose(built, expected, rtol=1e-12)


def test_the_extremes_are_legal():
    variances = np.array([0.0, 1e6])
    for num_steps in (1, 2, 9):
        given_problem = make_problem(cosine_schedule(num_steps), variances).with_training(0.5)
        best = optimal_values(given_problem, full_search=True)
        canonical = [
            plan_operator(make(num_steps), given_problem.operators, given_problem.shrinkage)
            for make in CANONICAL.values()
        ]
        errors = np.abs(given_problem.surrogate - canonical).min(axis=0)
        np.testing.assert_allclose(np.abs(given_problem.surrogate - best), errors, rtol=1e-10)


def test_a_sequential_plan_of_thousands_of_steps_is_found_and_walked():
    variances = np.array([0.9, 1.0003])
    operators, shrinkage, _ = problem(1200, variances, 3.2)
    plans = per_dimension_plans(posed(operators, shrinkage, variances), full_search=True)
    assert max(sum(1 for _ in merges(plan)) for plan in plans) > 1000
    assert table_bytes(1200, 1) == 8 * 1200**2


def test_no_compiled_operation_assumes_that_infinities_do_not_occur():
    """Searches start from -inf. Under ``ninf``, which ``fast`` includes, that would be poison."""
    assert fill_table.targetoptions["fastmath"] == _best_merges.targetoptions["fastmath"] == FAST
    inner_loop = njit(fastmath=FAST)(_best_merges.py_func)  # anew: cached code cannot be inspected
    row = np.array([0.5, 0.25])
    assert inner_loop(row, row, row, (0.0, 1.0), (1.0, 0.0)) == (0.25, 0.5)
    (code,) = inner_loop.inspect_llvm().values()
    assert "llvm.maxnum" in code
    assert not re.search(r"\b(ninf|fast)\b", code)


def test_threads_share_the_coordinates_and_change_nothing():
    """Where ``make test`` runs all else on one thread."""
    found = [
        subprocess.run(
            [sys.executable, "-c", SEARCHED],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"NUMBA_NUM_THREADS": str(count)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in (1, 2)
    ]
    assert found[0] == found[1] != ""


@pytest.mark.parametrize("num_steps", [2, 3, 9, 40])
@pytest.mark.parametrize("nary", [False, True])
def test_variance_0_is_searched_like_any_other(num_steps, nary):
    """There the last step is A_1 = 0 and the composite is 0."""
    variances = np.array([0.0, 0.0])
    operators, shrinkage, _ = problem(num_steps, variances, 0.8)
    assert (operators[0] == 0).all()
    found = optimal_values(posed(operators, shrinkage, variances), nary=nary, full_search=True)
    _, expected = best_choices(operators, shrinkage, better_direction(variances))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    plans = per_dimension_plans(posed(operators, shrinkage, variances), nary=nary, full_search=True)
    assert [(plan.start, plan.stop) for plan in plans] == [(num_steps, 0)] * 2
