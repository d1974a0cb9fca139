"""Students of several steps: plans by share, against all plans of every share."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule
from planner.budget import Budget, operator_under
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import num_merges
from planner.plan_all import plan_every_strategy
from planner.problem import make_problem
from planner.strategies import CANONICAL, equal_shares, plans_by_share, shifted
from planner.total_few_steps import plans_in_total
from planner.value import plan_operator
from tests.brute_force import every_algorithm_1_plan, every_plan
from tests.denoiser_oracle import random_schedule, value

VARIANCES = [0.0, 0.05, 0.5, 1.0, 1.06, 2.0, 6.0]


def planned(schedule, parametrisation, budget, student_steps, variances=VARIANCES, log=None):
    problem = make_problem(schedule, np.array(variances), parametrisation)
    say = log.append if log is not None else lambda line: None
    return problem, plan_every_strategy(problem, budget, log=say, student_steps=student_steps)


def products(values_of_shares):
    """Every product of one value of each share."""
    return np.array([np.prod(chosen) for chosen in product(*values_of_shares)])


def assert_nearest(found, rivals, target):
    assert abs(found - target) <= np.abs(rivals - target).min() * (1 + 1e-9) + 1e-14


@pytest.mark.parametrize(("num_steps", "student_steps"), [(4, 2), (5, 2), (6, 3), (7, 2), (4, 4)])
@pytest.mark.parametrize("train_time", [0.1, 1.6])
def test_no_plans_of_the_shares_beat_those_of_operators(num_steps, student_steps, train_time):
    schedule = cosine_schedule(num_steps)
    problem, found = planned(schedule, OPERATOR, Budget(train_time), student_steps)
    shrinkage = np.exp(-2 * train_time * problem.second_moments)
    values = [  # per share (n, d)
        [
            plan_operator(plan, problem.operators, shrinkage)
            for plan in every_algorithm_1_plan(stop + 1, start)
        ]
        for start, stop in equal_shares(num_steps, student_steps)
    ]
    for i, operator in enumerate(found.strategies["per_dimension"].operator):
        rivals = products([[float(row[i]) for row in share] for share in values])
        assert_nearest(operator, rivals, problem.surrogate[i])


@pytest.mark.parametrize(
    ("loss", "law"), [("x_0", "gradient_flow"), ("z", "gradient_flow"), ("x_0", "constant_speed")]
)
@pytest.mark.parametrize(("num_steps", "student_steps"), [(5, 2), (6, 2), (7, 3)])
@pytest.mark.parametrize("train_time", [0.1, 1.0])
def test_no_plans_of_the_shares_beat_those_of_denoisers(
    loss, law, num_steps, student_steps, train_time
):
    schedule = random_schedule(num_steps, np.random.default_rng(num_steps))
    chosen = Parametrisation("denoiser", loss, law=law)
    problem, found = planned(schedule, chosen, Budget(train_time), student_steps)
    shares = equal_shares(num_steps, student_steps)
    for i, variance in enumerate(VARIANCES):
        values = [
            [
                value(plan, schedule, variance, loss, "x_0", law, lambda merge: train_time)
                for plan in every_plan(stop + 1, start)
            ]
            for start, stop in shares
        ]
        best = found.strategies["per_dimension"]
        assert_nearest(best.operator[i], products(values), problem.composite[i])
        own = [
            value(plan, schedule, variance, loss, "x_0", law, lambda merge: train_time)
            for plan in best.plans[i :: len(VARIANCES)]
        ]
        np.testing.assert_allclose(best.operator[i], np.prod(own), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["per_merge", "total"])
@pytest.mark.parametrize("chosen", [OPERATOR, Parametrisation("denoiser", "z")])
@pytest.mark.parametrize("student_steps", [2, 3, 8])
def test_plans_tile_the_shares_step_by_step_and_respect_the_bound(kind, chosen, student_steps):
    variances = [0.2, 1.06, 3.0]
    _, found = planned(cosine_schedule(8), chosen, Budget(0.8, kind), student_steps, variances)
    shares = equal_shares(8, student_steps)
    for name, each in found.strategies.items():
        spans = [(plan.start, plan.stop) for plan in each.plans]
        assert spans == [share for share in shares for _ in variances]
        if found.lower_bound is not None:
            assert each.w2_squared >= found.lower_bound - 1e-15
            assert each.optimal == (each.w2_squared <= found.lower_bound * (1 + 1e-9) + 1e-28)
        if name in CANONICAL:
            assert each.plans[:: len(variances)] == plans_by_share(
                CANONICAL[name], 8, student_steps
            )
    assert found.lower_bound is not None
    assert ("pareto" in found.strategies) == (kind == "per_merge")
    assert found.student_steps == student_steps


def test_merges_of_all_steps_share_a_total_budget():
    problem, found = planned(cosine_schedule(6), OPERATOR, Budget(2.4, "total"), 2)
    plans = plans_by_share(CANONICAL["progressive"], 6, 2)
    count = sum(map(num_merges, plans))
    assert count == 4
    shrinkage = np.exp(-2 * 2.4 / count * problem.second_moments)
    expected = np.prod([plan_operator(p, problem.operators, shrinkage) for p in plans], axis=0)
    np.testing.assert_allclose(found.strategies["progressive"].operator, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("num_steps", "student_steps"), [(2, 2), (4, 2), (5, 2), (5, 3), (6, 2), (6, 3), (7, 2), (9, 2)]
)
@pytest.mark.parametrize("total_time", [0.05, 0.8, 6.4])
def test_no_plans_of_operators_beat_those_found_for_a_total(num_steps, student_steps, total_time):
    """All plans of all shares, whatever the numbers of their merges."""
    variances = [*VARIANCES, 1.02, 1.2]
    budget = Budget(total_time, "total")
    schedule = cosine_schedule(num_steps)
    problem, found = planned(schedule, OPERATOR, budget, student_steps, variances)
    shares = equal_shares(num_steps, student_steps)
    of_shares = [list(every_algorithm_1_plan(stop + 1, start)) for start, stop in shares]
    rivals = []
    for plans in product(*of_shares):
        everyone = [plan for plan in plans for _ in variances]
        rivals.append(operator_under(budget, everyone, problem))
    best = found.strategies["per_dimension"]
    for i, operator in enumerate(best.operator):
        assert_nearest(operator, np.array(rivals)[:, i], problem.surrogate[i])
    np.testing.assert_array_equal(best.operator, operator_under(budget, best.plans, problem))
    assert best.optimal


@pytest.mark.parametrize(("loss", "law"), [("z", "gradient_flow"), ("x_0", "constant_speed")])
@pytest.mark.parametrize(("num_steps", "student_steps"), [(4, 2), (5, 2), (6, 2), (6, 3), (7, 3)])
@pytest.mark.parametrize("total_time", [0.1, 1.5])
def test_no_plans_of_denoisers_beat_those_found_for_a_total(
    loss, law, num_steps, student_steps, total_time
):
    schedule = random_schedule(num_steps, np.random.default_rng(num_steps))
    chosen = Parametrisation("denoiser", loss, law=law)
    budget = Budget(total_time, "total")
    problem, found = planned(schedule, chosen, budget, student_steps)
    shares = equal_shares(num_steps, student_steps)
    of_shares = [list(every_plan(stop + 1, start)) for start, stop in shares]
    best = found.strategies["per_dimension"]
    assert best.optimal
    for i, variance in enumerate(VARIANCES):
        rivals = []
        for plans in product(*of_shares):
            time = total_time / max(1, sum(map(num_merges, plans)))
            values = [
                value(plan, schedule, variance, loss, "x_0", law, lambda merge, time=time: time)
                for plan in plans
            ]
            rivals.append(np.prod(values))
        assert_nearest(best.operator[i], np.array(rivals), problem.composite[i])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(4, 14), st.integers(2, 4), st.floats(0.9, 1.25), st.floats(0.02, 50), st.booleans()
)
def test_without_the_program_the_bounds_of_a_total_still_hold(
    num_steps, student_steps, variance, total_time, is_denoiser
):
    chosen = Parametrisation("denoiser", "z") if is_denoiser else OPERATOR
    problem = make_problem(cosine_schedule(num_steps), np.array([variance]), chosen)
    budget = Budget(total_time, "total")
    plans, limit = plans_in_total(problem, budget, student_steps)
    optimum = operator_under(budget, plans, problem)
    np.testing.assert_allclose(limit, optimum, rtol=1e-11, atol=1e-15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.total_few_steps.MOST_EXACT", 0)
        fewer, limit = plans_in_total(problem, budget, student_steps)
    direction = 1.0 if is_denoiser else problem.direction
    assert direction * operator_under(budget, fewer, problem) <= direction * optimum + 1e-12
    assert direction * limit >= direction * optimum - 1e-12
    assert direction * limit <= direction * problem.target + 1e-12


def test_bounds_that_would_take_too_long_are_left_out_in_words():
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.total_few_steps.MOST_SECONDS", 0.0)
        _, found = planned(
            cosine_schedule(6), OPERATOR, Budget(1.6, "total"), 2, [0.2, 1.06], lines
        )
    assert len(lines) == 1
    assert "none is proven optimal, and no lower bound is known" in lines[0]
    assert found.lower_bound is None
    assert not any(each.optimal for each in found.strategies.values())


@pytest.mark.parametrize("chosen", [OPERATOR, Parametrisation("denoiser", "z")])
def test_in_total_single_coordinates_are_proven_and_no_canonical_plan_is_better(chosen):
    lines = []
    problem, found = planned(
        cosine_schedule(8), chosen, Budget(1.6, "total"), 2, [0.2, 1.06, 3.0], lines
    )
    assert lines == [
        "K = 2 steps share a total budget: the plans of 3 of 3 coordinates are proven optimal"
    ]
    assert found.strategies["per_dimension"].optimal
    assert found.lower_bound == found.strategies["per_dimension"].w2_squared
    gaps = {n: np.abs(s.operator - problem.target) for n, s in found.strategies.items()}
    for name in CANONICAL:
        assert (gaps["per_dimension"] <= gaps[name] + 1e-15).all()
        for joint in ("greedy", "beam"):
            least = found.strategies[name].w2_squared
            assert found.strategies[joint].w2_squared <= least * (1 + 1e-12)
    assert found.strategies["beam"].w2_squared <= found.strategies["greedy"].w2_squared


def test_one_coordinate_has_the_same_plan_by_every_solver():
    _, found = planned(cosine_schedule(12), OPERATOR, Budget(0.8), 3, [1.06])
    for solver in ("greedy", "beam", "pareto", "per_dimension"):
        assert found.strategies[solver].optimal


def test_decisions_name_the_step_of_the_student():
    lines = []
    planned(cosine_schedule(6), Parametrisation("denoiser"), Budget(0.8), 2, [0.5, 2.0], lines)
    settled = "theory settles 2 coordinates: BOOT is optimal per merge"
    assert lines == [f"step 1 of 2: {settled}", f"step 2 of 2: {settled}"]


@pytest.mark.parametrize("student_steps", [0, 5])
def test_a_number_of_steps_that_the_teacher_cannot_give_is_refused(student_steps):
    with pytest.raises(ValueError, match=f"a student of {student_steps} steps cannot learn"):
        planned(cosine_schedule(4), OPERATOR, Budget(0.8), student_steps)


def test_shifted_plans_keep_their_merges():
    plan = CANONICAL["progressive"](5)
    assert shifted(shifted(plan, 3), -3) == plan
    assert (shifted(plan, 3).start, shifted(plan, 3).stop) == (8, 3)
