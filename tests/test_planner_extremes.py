"""The edges of the mathematics, from variance 0 to the largest, against 60-digit arithmetic."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from diffusion.gaussian import LARGEST_VARIANCE, check_variances
from diffusion.schedule import cosine_schedule, edm_schedule, flow_schedule
from planner.budget import Budget
from planner.parametrisation import Parametrisation
from planner.per_dimension import per_dimension_plans
from planner.plan import merges
from planner.plan_all import plan_every_strategy
from planner.plan_file import from_json, to_json
from planner.plan_set import PER_DIMENSION
from planner.problem import make_problem, shrinkage_of
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING, plan_operator
from tests.brute_force import every_plan

pytestmark = pytest.mark.filterwarnings("error")

VARIANCES = np.array([0.0, 5e-324, 1e-300, 1e-12, 1.0, 1.0 + 2e-16, 1e12, LARGEST_VARIANCE])
SCHEDULES = {
    "one step": cosine_schedule(1),
    "cosine": cosine_schedule(6),
    "flow": flow_schedule(32),
    "edm": edm_schedule(12),
}
TIMES = (1e-300, 0.05, 6.4, 1e300)
LOSSES = (("x_0", "x_0"), ("z", "x_0"), ("z", "v"), ("v", "x_0"))


class Exact:
    """Steps, targets and students of one coordinate, in 60 digits, by [OM] eqs. 13 to 17."""

    def __init__(self, schedule, variance):
        self.alpha = [Decimal(float(value)) for value in schedule.alpha]
        self.sigma = [Decimal(float(value)) for value in schedule.sigma]
        lam = Decimal(float(variance))
        pairs = list(zip(self.alpha, self.sigma, strict=True))
        self.moments = [a * a * lam + s * s for a, s in pairs]
        self.steps = [Decimal(0)] + [
            (a * b * lam + s * r) / n
            for (a, s), (b, r), n in zip(pairs, pairs[1:], self.moments[1:], strict=False)
        ]
        self.surrogate = self.composite = Decimal(1)
        for step in self.steps[1:]:
            self.composite *= step
            self.surrogate *= 1 if lam > 1 and step < 1 else step

    def student(self, plan, train_time, loss=None, prediction="x_0"):
        """The operator after training; a denoiser with a loss, else an operator."""
        if not plan.parts:
            return self.steps[plan.start]
        parts = [self.student(part, train_time, loss, prediction) for part in plan.parts]
        product = Decimal(1)
        for part in parts:
            product *= part
        b, m, u = plan.start, plan.parts[0].stop, plan.stop
        first, weight = parts[0], Decimal(1)
        if loss is not None:
            estimate = (first - self.ratio(b, m)) / self.factor(b, m)
            first = self.ratio(b, u) + self.factor(b, u) * estimate
            slope = self.sigma[b] if prediction == "v" else Decimal(1)
            slope *= {"x_0": 1, "z": self.factor(b, u), "v": 1 / self.sigma[b]}[loss]
            weight = slope * slope
        share = (-2 * Decimal(train_time) * self.moments[b] * weight).exp()
        return (1 - share) * product + share * first

    def ratio(self, b, u):
        return self.sigma[u] / self.sigma[b]

    def factor(self, b, u):
        return self.alpha[u] - self.ratio(b, u) * self.alpha[b]


@pytest.fixture(autouse=True)
def sixty_digits():
    with localcontext(prec=60, Emin=-(10**9), Emax=10**9):
        yield


def assert_near(found, exact):
    """Equal within the rounding of operators; below 1e-308 a number has fewer digits."""
    for value, right in zip(found.tolist(), exact, strict=True):
        assert abs(Decimal(value) - right) <= Decimal(OPERATOR_ROUNDING) * right + Decimal("1e-320")


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_and_targets_are_right_from_variance_0_to_the_largest(name):
    problem = make_problem(SCHEDULES[name], VARIANCES)
    exact = [Exact(SCHEDULES[name], variance) for variance in VARIANCES]
    for t, row in enumerate(problem.operators, start=1):
        assert_near(row, [one.steps[t] for one in exact])
    assert_near(problem.composite, [one.composite for one in exact])
    assert_near(problem.surrogate, [one.surrogate for one in exact])


@pytest.mark.parametrize("train_time", TIMES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_students_are_right_from_variance_0_to_the_largest(name, train_time):
    schedule = SCHEDULES[name]
    trained = make_problem(schedule, VARIANCES).with_training(train_time)
    for make in CANONICAL.values():
        plan = make(schedule.num_steps)
        found = plan_operator(plan, trained.operators, trained.shrinkage)
        exact = [Exact(schedule, variance).student(plan, train_time) for variance in VARIANCES]
        assert_near(found, exact)


@pytest.mark.parametrize(("loss", "prediction"), LOSSES)
def test_denoisers_are_right_from_variance_0_to_the_largest(loss, prediction):
    """Their estimates of x_0 are differences, so errors are relative to the larger of two terms."""
    schedule = cosine_schedule(6)
    chosen = Parametrisation("denoiser", loss, prediction)
    problem = make_problem(schedule, VARIANCES, chosen).trained(0.05)
    for make in CANONICAL.values():
        plan = make(schedule.num_steps)
        found = problem.student_operator(plan)
        for value, variance in zip(found.tolist(), VARIANCES, strict=True):
            exact = Exact(schedule, variance)
            right = exact.student(plan, 0.05, loss, prediction)
            size = max([right, *(step for step in exact.steps), Decimal(1)])
            assert abs(Decimal(value) - right) <= Decimal(OPERATOR_ROUNDING) * size


def test_the_best_plan_of_a_coordinate_is_the_best_of_all_at_every_variance():
    schedule = cosine_schedule(5)
    trained = make_problem(schedule, VARIANCES).with_training(0.05)
    plans = per_dimension_plans(trained, full_search=True)
    everything = [plan for plan in every_plan(1, 5) if _is_of_algorithm_1(plan)]
    for i, variance in enumerate(VARIANCES):
        exact = Exact(schedule, variance)
        errors = [abs(exact.surrogate - exact.student(plan, 0.05)) for plan in everything]
        own = abs(exact.surrogate - exact.student(plans[i], 0.05))
        assert own <= min(errors) + Decimal(OPERATOR_ROUNDING) * exact.surrogate


def _is_of_algorithm_1(plan):
    """Direct merges of steps, and merges of pairs."""
    return all(
        len(jump.parts) == 2 or not any(part.parts for part in jump.parts) for jump in merges(plan)
    )


@pytest.mark.parametrize("budget", ["per_merge", "total"])
@pytest.mark.parametrize("kind", [("operator",), ("denoiser",), ("denoiser", "z")])
@pytest.mark.parametrize("student_steps", [1, 2])
@pytest.mark.parametrize("variances", [VARIANCES, *VARIANCES[[0, 2, 7], None], VARIANCES[[0, 0]]])
def test_every_strategy_is_planned_to_finite_errors(budget, kind, student_steps, variances):
    problem = make_problem(cosine_schedule(6), variances, Parametrisation(*kind))
    found = plan_every_strategy(problem, Budget(0.05, budget), student_steps=student_steps)
    best = found.strategies[PER_DIMENSION].w2_squared
    target = float(np.linalg.norm(problem.target))
    for own in found.strategies.values():
        assert np.isfinite(own.operator).all()
        assert own.w2_squared >= 0
        rounding = OPERATOR_ROUNDING * (1 + target)  # estimates of x_0 are differences near 1
        assert best**0.5 <= own.w2_squared**0.5 + rounding
    assert to_json(from_json(to_json(found))) == to_json(found)


def test_shares_of_endless_training_are_0_and_of_none_1():
    rates = np.array([0.0, 5e-324, 1.0, LARGEST_VARIANCE])
    almost_all = np.exp(-2 * (1e308 * 5e-324))
    np.testing.assert_array_equal(shrinkage_of(rates, 1e308), [1.0, almost_all, 0.0, 0.0])
    np.testing.assert_array_equal(shrinkage_of(rates, 5e-324), 1.0)


@pytest.mark.parametrize("variance", [1.01e30, 1e154, 1.7e308])
def test_a_variance_beyond_the_largest_is_refused_by_its_coordinate(variance):
    with pytest.raises(ValueError, match=r"variance of coordinate 1 is .* than 1e\+30; divide"):
        check_variances(np.array([1.0, variance, variance]))
