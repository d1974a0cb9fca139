"""Schedules that keep a signal at t = T: the teacher starts from N(0, n_T), not from unit noise."""

import numpy as np
import pytest

from diffusion.schedule import TeacherSchedule, cosine_schedule, edm_schedule
from planner.budget import Budget
from planner.parametrisation import OPERATOR, Parametrisation
from planner.per_dimension import per_dimension_plans
from planner.plan_all import plan_every_strategy
from planner.problem import MergeProblem, make_problem
from planner.strategies import CANONICAL
from tests.brute_force import every_algorithm_1_plan, every_plan

FIELDS = ("variances", "operators", "surrogate", "shrinkage")
VARIANCES = np.array([0.5, 1.08, 5.96])
KINDS = (
    OPERATOR,
    *(Parametrisation("denoiser", loss) for loss in ("x_0", "z", "v")),
    Parametrisation("denoiser", law="constant_speed"),
)


def ends_early(num_steps: int, last: float = 1.0) -> TeacherSchedule:
    """The circle up to the angle ``last``, below pi/2: alpha_T = 0.54."""
    angle = np.linspace(0.0, last, num_steps + 1)
    return TeacherSchedule(np.cos(angle), np.sin(angle))


def ddim_by_hand(schedule, variance: float, x: np.ndarray) -> np.ndarray:
    """The teacher's loop on noised data of one coordinate, by estimates of x_0 and eps."""
    for t in range(schedule.num_steps, 0, -1):
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        x_0 = alpha * variance / (alpha**2 * variance + sigma**2) * x
        x = schedule.alpha[t - 1] * x_0 + schedule.sigma[t - 1] * (x - alpha * x_0) / sigma
    return x


@pytest.mark.parametrize("schedule", [ends_early(6), edm_schedule(9)], ids=["arc", "edm"])
@pytest.mark.parametrize("students", [OPERATOR, Parametrisation("denoiser", "x_0")])
def test_w2_is_that_of_the_gaussians_which_student_and_target_make_of_noised_data(
    schedule, students
):
    """Exactly, by the deviation of the teacher's output; and by sorted samples of noised data."""
    problem = make_problem(schedule, VARIANCES, students)
    plan = CANONICAL["progressive"](schedule.num_steps)
    operator = problem.trained(0.4).student_operator(plan)
    rng = np.random.default_rng(0)
    exact = sampled = 0.0
    for i, variance in enumerate(VARIANCES.tolist()):
        deviation = np.sqrt(schedule.alpha[-1] ** 2 * variance + schedule.sigma[-1] ** 2)
        of_teacher = float(ddim_by_hand(schedule, variance, np.ones(1))[0]) * deviation
        exact += (operator[i] * deviation - of_teacher) ** 2
        x_0, eps = rng.standard_normal((2, 200_000))
        x_T = schedule.alpha[-1] * np.sqrt(variance) * x_0 + schedule.sigma[-1] * eps
        made = np.sort(operator[i] * x_T), np.sort(ddim_by_hand(schedule, variance, x_T))
        sampled += np.square(made[0] - made[1]).mean()
    assert problem.distance(operator, problem.composite) == pytest.approx(exact, rel=1e-12)
    assert sampled == pytest.approx(exact, rel=0.02)  # 4 standard errors of a variance


def test_the_teacher_recovers_the_data_on_fine_grids():
    """sqrt(n_T) times the composite tends to sqrt(lam), and never exceeds it."""
    gaps = []
    for num_steps in (50, 100, 200):
        problem = make_problem(ends_early(num_steps), VARIANCES)
        gaps.append(np.sqrt(VARIANCES) - problem.on_unit_noise(problem.composite))
    assert (np.array(gaps) > 0).all()
    np.testing.assert_allclose(gaps[0] / gaps[1], 2.0, rtol=0.02)
    np.testing.assert_allclose(gaps[1] / gaps[2], 2.0, rtol=0.01)


@pytest.mark.parametrize("students", KINDS, ids=lambda kind: kind.text)
@pytest.mark.parametrize("time", [0.3, 1.6])
def test_no_plan_is_better_than_those_that_are_called_optimal(students, time):
    """Brute force over all plans, with every coordinate's error weighed by its n_T by hand."""
    schedule = ends_early(5)
    problem = make_problem(schedule, VARIANCES, students)
    trained = problem.trained(time)
    weights = schedule.alpha[-1] ** 2 * VARIANCES + schedule.sigma[-1] ** 2
    plans = every_algorithm_1_plan(1, 5) if students == OPERATOR else every_plan(1, 5)
    operators = np.array([trained.student_operator(plan) for plan in plans])
    errors = weights * (operators - problem.target) ** 2
    found = plan_every_strategy(problem, Budget(time)).strategies
    rounding = {"rel": 1e-9, "abs": 1e-15}
    assert found["pareto"].w2_squared == pytest.approx(errors.sum(axis=1).min(), **rounding)
    assert found["beam"].w2_squared == pytest.approx(errors.sum(axis=1).min(), **rounding)
    assert found["per_dimension"].w2_squared == pytest.approx(errors.min(axis=0).sum(), **rounding)
    for each in found.values():  # operators are those of x_T, whatever planned them
        np.testing.assert_allclose(
            each.w2_squared, (weights * (each.operator - problem.target) ** 2).sum(), atol=1e-15
        )


def test_the_weights_change_the_best_joint_plan():
    """Otherwise the test above could not tell."""
    weighed = make_problem(ends_early(5), VARIANCES).trained(0.3)
    assert isinstance(weighed, MergeProblem)
    plain = MergeProblem(*(getattr(weighed, name) for name in FIELDS))
    assert weighed.start_deviations is not None
    assert plain.start_deviations is None
    plans = list(every_algorithm_1_plan(1, 5))
    operators = np.array([weighed.student_operator(plan) for plan in plans])
    errors = np.square(operators - weighed.surrogate)
    best, best_plain = (
        int((errors * weights).sum(axis=1).argmin())
        for weights in (weighed.start_deviations**2, np.ones(len(VARIANCES)))
    )
    assert plans[best] != plans[best_plain]


def test_theory_settles_the_same_plans_as_a_search():
    variances = np.array([0.01, 0.5, 1.0, 1.5, 3.0, 50.0])
    trained = make_problem(ends_early(12), variances).with_training(0.8)
    values = [
        [trained.student_operator(plan)[i] for i, plan in enumerate(plans)]
        for plans in (
            per_dimension_plans(trained),
            per_dimension_plans(trained, full_search=True),
        )
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_pure_noise_is_the_limit_of_a_small_signal():
    """alpha_T = 1e-7 gives what alpha_T = 0 gives, in every strategy."""
    angle = np.linspace(0.0, np.pi / 2, 9)
    alpha, sigma = np.cos(angle), np.sin(angle)
    alpha[-1], sigma[-1] = 1e-7, np.sqrt(1 - 1e-14)
    small, none = (
        plan_every_strategy(make_problem(schedule, VARIANCES), Budget(1.6)).strategies
        for schedule in (TeacherSchedule(alpha, sigma), cosine_schedule(8))
    )
    assert small.keys() == none.keys()
    for name, found in small.items():
        assert found.w2_squared == pytest.approx(none[name].w2_squared, rel=1e-5)


def test_students_of_several_steps_are_weighed_too():
    problem = make_problem(ends_early(6), VARIANCES)
    for found in plan_every_strategy(problem, Budget(0.5), student_steps=2).strategies.values():
        expected = (problem.second_moments[-1] * (found.operator - problem.target) ** 2).sum()
        assert found.w2_squared == pytest.approx(expected, rel=1e-12)
