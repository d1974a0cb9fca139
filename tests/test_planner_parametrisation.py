import itertools

import numpy as np
import pytest

from diffusion.gaussian import ddim_operators
from diffusion.schedule import cosine_schedule
from planner.parametrisation import OPERATOR, Parametrisation, ddim_coefficients, loss_weights
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import plan_operator
from tests.denoiser_oracle import CASES, ddim, estimate, random_schedule, train, weight

JUMPS = ((8, 7, 0), (8, 6, 2), (6, 3, 1), (5, 4, 0))  # start, end of the noisiest part, stop
SCHEDULES = (cosine_schedule(8), random_schedule(8, np.random.default_rng(0)))


def trained(schedule, variance, loss, prediction, law, train_time, decay=None):
    chosen = Parametrisation("denoiser", loss, prediction, law)
    return make_problem(schedule, np.array([variance]), chosen).trained(train_time, decay)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_jump_is_that_of_ddim_and_of_the_teacher(schedule):
    ratio, factor = ddim_coefficients(schedule)
    for b, u in itertools.combinations(range(9), 2):
        start, stop = max(b, u), min(b, u)
        for x_0 in (0.0, 1.0, -0.3):
            found = ratio[start, stop] + factor[start, stop] * x_0
            assert found == pytest.approx(ddim(schedule, start, stop, x_0), abs=1e-14)
    lam = 0.7
    n = schedule.alpha**2 * lam + schedule.sigma**2
    t = np.arange(1, 9)
    steps = ratio[t, t - 1] + factor[t, t - 1] * (schedule.alpha * lam / n)[1:]
    np.testing.assert_allclose(steps, ddim_operators(schedule, np.array([lam]))[:, 0], rtol=1e-13)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("variance", [0.2, 1.0, 4.0])
@pytest.mark.parametrize(("loss", "prediction", "law"), CASES)
def test_a_merge_ends_where_plain_gradient_steps_lead(schedule, variance, loss, prediction, law):
    """The start J, and what is left: (1 - 2 ds n w)**N, or a step of ds times the sign."""
    step, num_steps = 1e-3, 700
    total = step * num_steps

    def discrete(rates):
        return -np.log(1.0 - 2.0 * step * rates) / (2.0 * step)

    problem = trained(schedule, variance, loss, prediction, law, total, discrete)
    operators = problem.problem.operators[:, 0]
    for b, m, u in JUMPS:
        first, rest = operators[m:b].prod(), operators[u:m].prod()
        start = estimate(schedule, b, m, first)
        is_sign = law == "constant_speed"
        measured = train(
            schedule,
            variance,
            b,
            u,
            start,
            first * rest,
            loss,
            prediction,
            step,
            num_steps,
            is_sign,
        )
        found = problem.merged(b, m, u, np.array([first]), np.array([first * rest]))[0]
        # Steps of one size go to and fro around the target, by one step at most.
        slack = step if is_sign else 1e-13
        assert found == pytest.approx(measured, abs=slack)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_are_squared_derivatives(schedule):
    for loss, prediction, law in CASES:
        found = loss_weights(schedule, Parametrisation("denoiser", loss, prediction, law))
        for u, b in itertools.combinations(range(9), 2):
            expected = weight(schedule, b, u, loss, prediction)
            assert found[b, u] == pytest.approx(expected, rel=1e-12)


def test_the_v_loss_is_the_x_0_loss_with_the_weight_snr_plus_1():
    schedule = cosine_schedule(8)
    v, x_0 = (loss_weights(schedule, Parametrisation("denoiser", loss)) for loss in ("v", "x_0"))
    snr = (schedule.alpha[1:] / schedule.sigma[1:]) ** 2
    np.testing.assert_allclose(v[1:], x_0[1:] * (snr + 1.0)[:, None], rtol=1e-13)


def test_no_training_leaves_one_long_ddim_step_and_all_of_it_the_composite():
    schedule, variances = cosine_schedule(9), np.array([0.3, 2.0])
    coarse = 0.0  # at alpha_T = 0 the teacher's estimate of x_0 is 0, and so is one step to x_0
    for loss in ("x_0", "z", "v"):
        problem = make_problem(schedule, variances, Parametrisation("denoiser", loss))
        for make in CANONICAL.values():
            little, much = (problem.trained(s).student_operator(make(9)) for s in (1e-12, 1e6))
            np.testing.assert_allclose(little, coarse, atol=1e-9)
            np.testing.assert_allclose(much, problem.composite, rtol=1e-9)


def test_the_operator_parametrisation_is_the_one_there_was():
    schedule, variances = cosine_schedule(9), np.array([0.3, 1.0, 2.0])
    problem = make_problem(schedule, variances)
    assert problem.parametrisation == OPERATOR == Parametrisation("operator", "z")
    np.testing.assert_array_equal(problem.target, problem.surrogate)
    merges = problem.with_training(0.8)
    for make in CANONICAL.values():
        expected = plan_operator(make(9), merges.operators, merges.shrinkage)
        np.testing.assert_array_equal(problem.trained(0.8).student_operator(make(9)), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "network"}, "kind must be one of operator, denoiser, got 'network'"),
        ({"kind": "denoiser", "loss": "eps"}, "loss must be one of x_0, z, v, got 'eps'"),
        ({"kind": "denoiser", "law": "adam"}, "law must be one of gradient_flow, constant_speed"),
        ({"kind": "denoiser", "prediction": "eps"}, "at alpha_T = 0, where every plan starts"),
        ({"loss": "x_0"}, "need the parametrisation denoiser"),
        ({"prediction": "v"}, "need the parametrisation denoiser"),
        ({"law": "constant_speed"}, "constant_speed needs the parametrisation denoiser"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Parametrisation(**arguments)
