import numpy as np
import pytest

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import cosine_schedule
from planner.plan import Plan, merge, step
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator, plan_operator, w2_squared
from tests.brute_force import every_plan

# Mean error to the surrogate for T = 32, s_eff = 3.2 as in [OM] Table 2: the closed form with
# g_t = (1 - 0.064 n_t)**100, from ERRATA P-8, where its consistency recursion is the plain one.
CLOSED_FORM = {
    ("vanilla", 0.2): 7.70205e-04,
    ("progressive", 0.2): 3.34061e-02,
    ("sequential_boot", 0.2): 4.95978e-04,
    ("sequential_consistency", 0.2): 1.226e-01,
    ("sequential_consistency", 0.5): 2.354e-02,
    ("sequential_consistency", 1.0): 7.71e-04,
    ("sequential_consistency", 1.02): -2.771e-02,
    ("sequential_consistency", 2.0): -4.975e-03,
    ("sequential_consistency", 5.0): -8.348e-03,
}


@pytest.mark.parametrize(("name", "variance"), CLOSED_FORM)
def test_errors_to_the_surrogate_are_those_of_the_errata(name, variance):
    schedule, variances = cosine_schedule(32), np.array([variance])
    operators = ddim_operators(schedule, variances)
    shrinkage = (1 - 0.064 * noised_variances(schedule, variances)) ** 100
    operator = plan_operator(CANONICAL[name](32), operators, shrinkage)
    error = operator - surrogate_composite(operators, variances)
    assert error[0] == pytest.approx(CLOSED_FORM[name, variance], rel=1e-3)


def recursive_value(plan: Plan, operators: np.ndarray, shrinkage: np.ndarray) -> np.ndarray:
    """[OM] eq. 16 word for word."""
    if not plan.parts:
        return operators[plan.start - 1]
    parts = [recursive_value(part, operators, shrinkage) for part in plan.parts]
    g = shrinkage[plan.start - 1]
    return (1 - g) * np.prod(parts, axis=0) + g * parts[0]


def test_the_value_of_every_plan_is_its_recursion():
    rng = np.random.default_rng(0)
    operators, shrinkage = rng.uniform(0.5, 1.5, (5, 3)), rng.uniform(0, 1, (5, 3))
    for plan in every_plan(1, 5):
        np.testing.assert_allclose(
            plan_operator(plan, operators, shrinkage), recursive_value(plan, operators, shrinkage)
        )


@pytest.mark.parametrize("name", CANONICAL)
def test_without_shrinkage_every_plan_is_the_composite_and_with_all_of_it_the_first_step(name):
    operators = np.random.default_rng(1).uniform(0.5, 1.5, (13, 4))
    plan = CANONICAL[name](13)
    learnt = plan_operator(plan, operators, np.zeros((13, 4)))
    np.testing.assert_allclose(learnt, operators.prod(axis=0))
    np.testing.assert_allclose(plan_operator(plan, operators, np.ones((13, 4))), operators[-1])


def test_a_single_step_is_its_own_plan():
    operators = np.array([[0.3, 0.7]])
    np.testing.assert_array_equal(plan_operator(step(1), operators, np.ones((1, 2))), operators[0])


def test_coordinates_are_valued_under_their_own_plans_and_trials_apart():
    rng = np.random.default_rng(2)
    operators, shrinkage = rng.uniform(0.5, 1, (3, 4)), rng.uniform(0, 1, (3, 6, 4))
    early, late = merge(step(3), merge(step(2), step(1))), merge(merge(step(3), step(2)), step(1))
    mixed = per_dimension_operator([early, late, late, early], operators, shrinkage)
    for i, plan in enumerate([early, late, late, early]):
        for trial in range(6):
            alone = plan_operator(plan, operators[:, i : i + 1], shrinkage[:, trial, i : i + 1])
            np.testing.assert_allclose(mixed[trial, i], alone[0])


def test_w2_squared_is_that_of_the_two_gaussians():
    """Between centred Gaussians with standard deviations a and b it is (a - b)**2."""
    assert w2_squared(np.array([0.9, 0.5]), np.array([1.0, 0.8])) == pytest.approx(0.01 + 0.09)
