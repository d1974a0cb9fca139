import subprocess
import sys

import numpy as np
import pytest

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import cosine_schedule
from planner.plan import merges
from planner.search import joint_plan, per_dimension_plans
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator, plan_operator, w2_squared
from tests.brute_force import every_algorithm_1_plan


def problem(num_steps, variances, train_time):
    variances = np.asarray(variances, dtype=float)
    schedule = cosine_schedule(num_steps)
    operators = ddim_operators(schedule, variances)
    shrinkage = np.exp(-2 * train_time * noised_variances(schedule, variances))
    return operators, shrinkage, surrogate_composite(operators, variances)


@pytest.mark.parametrize("num_steps", range(1, 8))
def test_no_plan_of_one_coordinate_beats_the_optimal_one(num_steps):
    rng = np.random.default_rng(num_steps)
    plans = list(every_algorithm_1_plan(1, num_steps))
    for train_time in (0.2, 1.6, 6.4):
        variances = np.concatenate([[0.0, 1.0, 1.02, 2.0], rng.uniform(0, 20, 4)])
        operators, shrinkage, surrogate = problem(num_steps, variances, train_time)
        all_values = np.stack([plan_operator(p, operators, shrinkage) for p in plans])
        least = np.square(surrogate - all_values).min(axis=0)

        chosen = per_dimension_plans(operators, shrinkage, variances)
        found = np.square(surrogate - per_dimension_operator(chosen, operators, shrinkage))
        np.testing.assert_allclose(found, least, rtol=1e-9, atol=1e-28)
        for i in range(len(variances)):
            column = slice(i, i + 1)
            plan = joint_plan(operators[:, column], shrinkage[:, column], surrogate[column])
            value = plan_operator(plan, operators[:, column], shrinkage[:, column])
            assert np.square(surrogate[i] - value[0]) == pytest.approx(
                least[i], rel=1e-9, abs=1e-28
            )


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
    plan = joint_plan(operators, shrinkage, surrogate)
    found = w2_squared(plan_operator(plan, operators, shrinkage), surrogate)
    assert found == pytest.approx(expected, rel=2e-7)


def test_one_plan_for_all_never_beats_one_plan_each():
    rng = np.random.default_rng(5)
    for _ in range(20):
        variances = rng.uniform(0, 4, 6)
        operators, shrinkage, surrogate = problem(12, variances, rng.uniform(0.1, 5))
        joint = plan_operator(joint_plan(operators, shrinkage, surrogate), operators, shrinkage)
        plans = per_dimension_plans(operators, shrinkage, variances)
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
        plans = per_dimension_plans(operators, shrinkage, variances)
        best = per_dimension_operator(plans, operators, shrinkage)
        canonical = plan_operator(CANONICAL[name](num_steps), operators, shrinkage)
        np.testing.assert_allclose(best, canonical, rtol=1e-13)


def test_one_step_needs_no_merge():
    operators, shrinkage, surrogate = problem(1, [0.5, 2.0], 1.0)
    assert not list(merges(joint_plan(operators, shrinkage, surrogate)))
    assert not any(
        list(merges(plan))
        for plan in per_dimension_plans(operators, shrinkage, np.array([0.5, 2.0]))
    )


def test_the_planner_never_loads_torch():
    code = "import planner.search, planner.strategies, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
