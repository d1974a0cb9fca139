"""The executor of neural students, against closed forms that know nothing of networks."""

import copy
import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import gaussian_denoiser
from diffusion.gaussian import ddim_operators, noised_variances
from diffusion.schedule import cosine_schedule
from experiment.seeds import keyed_generator
from neural.data import gaussian, noised_batches, ring
from neural.distil import Task, Work, apply_jumps, distil_plans, fit, train_in_rounds
from neural.jumps import DenoiserJump, teacher_step
from neural.networks import HeadedEstimators, MLPs, X0Network, level_features
from neural.shared import distil_shared
from planner.plan import from_outline, merges
from planner.strategies import CANONICAL, sequential_boot, vanilla
from planner.value import plan_operator
from sampling.noise_estimator import NoiseEstimator

T = 6
VARIANCES = np.array([0.3, 1.7])
SCHEDULE = cosine_schedule(T)
UPDATES, LR = 40, 0.01
HYBRID = from_outline(T, ((6, 5, 4), (3, 2, 1), (6, 4, 3, 1, 0)))


class LinearNetwork(X0Network):
    """xhat = (alpha lam / n + delta) x: exact for Gaussian data, with a trained correction."""

    def __init__(self) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(len(VARIANCES)).double())
        self.exact = True

    def forward(self, x_t, alpha, sigma):
        lam = torch.from_numpy(VARIANCES)
        exact = alpha * lam / (alpha**2 * lam + sigma**2) if self.exact else 0.0
        return (exact + self.delta) * x_t

    def with_zero_output(self):
        zeroed = copy.deepcopy(self)
        zeroed.exact = False
        return zeroed


def exact_inputs(start):
    """Two points per coordinate whose mean squares are exactly the variances n_t of x_t."""
    root = torch.from_numpy(np.sqrt(len(VARIANCES) * noised_variances(SCHEDULE, VARIANCES)))
    return torch.diag(root[start - 1])[None]


def finished(rounds, updates, loss, optimizer, lr):
    """The students of one strategy, its groups trained one after another."""

    def train(ready, updates):
        (groups,) = ready.values()
        for tasks in groups:
            assert fit([tasks], updates, loss, optimizer, lr, lambda tasks: None) == [""]
        return {}

    ((_, students),) = train_in_rounds({"": Work(rounds, updates)}, train)
    return students


def linear_student(plan, parametrisation, loss, updates=UPDATES):
    teacher = LinearNetwork().requires_grad_(False)
    leaf = lambda t: teacher_step(teacher, SCHEDULE, t, parametrisation)  # noqa: E731
    batches = lambda start, stop: itertools.repeat(exact_inputs(start))  # noqa: E731
    lr = LR if loss == "z" else LR / 10  # 1 / k**2 is large for short jumps
    return finished(distil_plans([plan], leaf, batches), updates, loss, "sgd", lr)[0]


def operator_of(jump):
    with torch.no_grad():
        return jump(torch.ones(1, 1, len(VARIANCES)).double()).flatten().numpy()


@pytest.mark.parametrize("make", CANONICAL.values())
def test_linear_students_under_operator_are_the_closed_form(make):
    shrinkage = (1 - 2 * LR * noised_variances(SCHEDULE, VARIANCES)) ** UPDATES
    expected = plan_operator(make(T), ddim_operators(SCHEDULE, VARIANCES), shrinkage)
    found = operator_of(linear_student(make(T), "operator", "z"))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def denoiser_operator(plan, loss):
    """PARAMETRISATION A, written as a recursion over c = xhat / x for one plan."""
    alpha, sigma = SCHEDULE.alpha, SCHEDULE.sigma
    found = {}
    for merge in merges(plan):
        b, u = merge.start, merge.stop
        n_b = alpha[b] ** 2 * VARIANCES + sigma[b] ** 2
        parts = merge.parts

        def coefficient(part):
            if part.parts:
                return found[part.start, part.stop]
            n = alpha[part.start] ** 2 * VARIANCES + sigma[part.start] ** 2
            return alpha[part.start] * VARIANCES / n

        def jump(start, stop, c):
            return (sigma[stop] + (alpha[stop] * sigma[start] - alpha[start] * sigma[stop]) * c) / (
                sigma[start]
            )

        target = np.prod([jump(p.start, p.stop, coefficient(p)) for p in parts], axis=0)
        k = alpha[u] - alpha[b] * sigma[u] / sigma[b]
        wanted = (target - sigma[u] / sigma[b]) / k
        rate = 2 * (LR * k**2 if loss == "z" else LR / 10) * n_b
        left = (1 - rate) ** UPDATES
        found[b, u] = wanted + left * (coefficient(parts[0]) - wanted)
    return jump(plan.start, plan.stop, found[plan.start, plan.stop])


@pytest.mark.parametrize("loss", ["x_0", "z"])
@pytest.mark.parametrize("plan", [*(make(T) for make in CANONICAL.values()), HYBRID])
def test_linear_students_under_denoiser_are_the_closed_form(plan, loss):
    found = operator_of(linear_student(plan, "denoiser", loss))
    np.testing.assert_allclose(found, denoiser_operator(plan, loss), rtol=1e-12)


def mlps(members=2, prediction="x_0"):
    generators = [keyed_generator(0, number) for number in range(members)]
    return MLPs(2, 16, 2, prediction, generators).requires_grad_(False)


def untrained(plan, parametrisation, prediction="x_0"):
    teacher = mlps(prediction=prediction)
    leaf = lambda t: teacher_step(teacher, SCHEDULE, t, parametrisation)  # noqa: E731
    rounds = distil_plans([plan], leaf, lambda start, stop: iter(()))
    return teacher, finished(rounds, 0, "z", "adam", 1e-3)[0]


@pytest.mark.parametrize("make", [vanilla, sequential_boot])
@pytest.mark.parametrize("prediction", ["x_0", "v"])
def test_without_updates_a_student_is_its_beginning(make, prediction):
    """The teacher's leaf under operator; under denoiser one long DDIM step."""
    x_T = torch.randn(2, 5, 2)
    teacher, student = untrained(make(T), "operator", prediction)
    torch.testing.assert_close(student(x_T), DenoiserJump(teacher, SCHEDULE, T, T - 1)(x_T))
    teacher, student = untrained(make(T), "denoiser", prediction)
    torch.testing.assert_close(student(x_T), teacher(x_T, 0.0, 1.0))  # r = 0, k = 1


def test_v_prediction_turns_into_x_0_as_salimans_and_ho_say():
    x_t = torch.randn(2, 5, 2)
    says_x, says_v = mlps(), mlps(prediction="v")
    alpha, sigma = 0.6, 0.8
    torch.testing.assert_close(
        says_v(x_t, alpha, sigma), alpha * x_t - sigma * says_x(x_t, alpha, sigma)
    )


def test_members_are_separate_networks_and_learn_as_each_alone():
    """S members side by side against an ordinary Sequential of member 1, trained by autograd."""
    both = mlps().trainable_copy()
    alone = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU())
    alone.append(nn.Linear(16, 2))
    linears = [layer for layer in alone if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(linears, both.weights, both.biases, strict=True):
            layer.weight.copy_(weight[1].T)
            layer.bias.copy_(bias[1, 0])
    x_t = torch.randn(2, 7, 2)
    features = level_features(0.6, 0.8, x_t).expand(1, 7, 8)[0]
    expected = alone(torch.cat([x_t[1], features], dim=1))
    found = both(x_t, 0.6, 0.8)
    torch.testing.assert_close(found[1], expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for layer, weight in zip(linears, both.weights, strict=True):
        torch.testing.assert_close(weight.grad[1], layer.weight.grad.T)


def test_gradients_of_a_jump_are_those_of_finite_differences():
    jump = DenoiserJump(mlps().trainable_copy().double(), SCHEDULE, 4, 1)
    x, target = torch.randn(2, 3, 2).double(), torch.randn(2, 3, 2).double()

    def loss(weight):
        with torch.no_grad():
            jump.network.weights[1].copy_(weight)
        return (jump(x) - target).square().sum()

    weight = jump.network.weights[1].detach().clone()
    loss(weight).backward()
    direction = torch.randn_like(weight)
    slope = (loss(weight + 1e-6 * direction) - loss(weight - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(
        (jump.network.weights[1].grad * direction).sum(), slope.detach(), rtol=1e-6, atol=1e-8
    )


def small_estimator(dim=5):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    torch.manual_seed(0)
    data = Eigenbasis(rng.standard_normal(dim), np.linspace(0.2, 1.5, dim), basis)
    return data, NoiseEstimator(data, width=8, depth=1)


def test_a_head_learns_at_pure_noise_where_the_estimator_is_pinned_to_the_mean():
    _, estimator = small_estimator()
    network = HeadedEstimators(estimator, 2).trainable_copy()
    x_T = torch.randn(2, 6, 5)
    jump = DenoiserJump(network, SCHEDULE, T, 0)
    torch.testing.assert_close(jump(x_T), estimator.mean.expand(2, 6, 5))  # pinned so far
    (jump(x_T) - torch.randn(2, 6, 5)).square().sum().backward()
    for member in network.members:
        assert member.from_features.grad.abs().sum() > 0
        assert member.from_whitened.grad.abs().sum() > 0
    own = [weight.grad for weight in network.members[0].estimator.parameters()]
    assert all(grad is None or not grad.any() for grad in own)  # the trap itself


@pytest.mark.parametrize("t", [1, 3, T])
def test_an_untrained_head_leaves_the_estimator_as_it_is(t):
    data, estimator = small_estimator()
    x_t = torch.randn(2, 6, 5)
    alpha, sigma = float(SCHEDULE.alpha[t]), float(SCHEDULE.sigma[t])
    found = HeadedEstimators(estimator, 2)(x_t, alpha, sigma)
    # The read-out of the estimator is 0 as long as it is not trained: the Gaussian's denoiser.
    expected = gaussian_denoiser(data)(x_t[1], alpha, sigma).x_0
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-5)
    zero = HeadedEstimators(estimator, 2).with_zero_output()(x_t, alpha, sigma)
    assert not zero.any()


def test_a_merge_that_diverges_is_named_with_its_learning_rate():
    teacher = mlps()
    batches = noised_batches(
        ring((1.0, 1.0), 6.0), 0.0, 1.0, 8, [keyed_generator(0), keyed_generator(1)]
    )
    student = teacher_step(teacher, SCHEDULE, T, "denoiser").merged(T - 2)
    parts = [teacher_step(teacher, SCHEDULE, t, "denoiser") for t in (T, T - 1)]
    task = Task(student, parts, batches.__next__)
    (reason,) = fit([[task]], 50, "z", "sgd", 1e6, lambda tasks: None)
    assert re.search(r"the merge x_6 -> x_4 diverged at update \d+ .* 1e\+06$", reason)


@pytest.mark.parametrize("draw", [ring((0.2, 5.0), 6.0), gaussian((0.2, 5.0))])
def test_data_have_the_variances_asked_for(draw):
    points = draw(keyed_generator(7), 200_000).double()
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(2).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(
        points.var(dim=0), torch.tensor([0.2, 5.0]).double(), rtol=0.02, atol=0
    )


def test_batches_of_a_seed_do_not_depend_on_the_others():
    draw = gaussian((1.0, 1.0))
    alone = next(noised_batches(draw, 0.6, 0.8, 4, [keyed_generator(5)]))
    both = next(noised_batches(draw, 0.6, 0.8, 4, [keyed_generator(4), keyed_generator(5)]))
    torch.testing.assert_close(both[1], alone[0], rtol=0, atol=0)


def test_adam_ends_where_its_learning_rate_has_fallen_to_zero():
    """A scalar that Adam moves at lr per update travels lr * (U + 1) / 2 in all."""
    student = teacher_step(LinearNetwork(), SCHEDULE, T, "denoiser").merged(0)
    start = student.network.delta.detach().clone()
    far = nn.Identity()
    far.forward = lambda x: 100.0 * x
    task = Task(student, [far], lambda: exact_inputs(T))
    fit([[task]], 50, "z", "adam", 1e-3, lambda tasks: None)
    moved = student.network.delta.detach() - start
    torch.testing.assert_close(moved, torch.full((2,), 1e-3 * 51 / 2).double(), rtol=1e-3, atol=0)


def test_jumps_of_a_student_of_several_steps_follow_each_other():
    teacher = mlps()
    x_T = torch.randn(2, 3, 2)
    steps = [DenoiserJump(teacher, SCHEDULE, t, t - 1) for t in range(T, 0, -1)]
    expected = x_T
    for t in range(T, 0, -1):  # DDIM in its usual words
        alpha, sigma = (float(part[t]) for part in (SCHEDULE.alpha, SCHEDULE.sigma))
        x_0 = teacher(expected, alpha, sigma)
        eps = (expected - alpha * x_0) / sigma
        expected = float(SCHEDULE.alpha[t - 1]) * x_0 + float(SCHEDULE.sigma[t - 1]) * eps
    assert math.isclose(SCHEDULE.sigma[0], 0.0)
    torch.testing.assert_close(apply_jumps(steps, x_T), expected)


def shared_jumps(plans, updates):
    """A shared student of untrained teachers, and how many merges each of its rounds had."""
    draw, generators = gaussian((1.0, 1.0)), [keyed_generator(3), keyed_generator(4)]
    sizes = []

    def batches(start, stop):
        alpha, sigma = float(SCHEDULE.alpha[start]), float(SCHEDULE.sigma[start])
        return noised_batches(draw, alpha, sigma, 16, generators)

    def counted(rounds):
        while True:
            try:
                (tasks,) = next(rounds)
            except StopIteration as end:
                return end.value
            sizes.append(len(tasks))
            yield [tasks]

    teacher = mlps()
    rounds = counted(distil_shared(plans, teacher, SCHEDULE, batches))
    return teacher, finished(rounds, updates, "x_0", "adam", 1e-2), sizes


def test_a_shared_student_begins_as_one_long_ddim_step_of_its_teacher():
    teacher, (jump,), sizes = shared_jumps([CANONICAL["progressive"](T)], updates=0)
    x_T = torch.randn(2, 5, 2)
    torch.testing.assert_close(jump(x_T), teacher(x_T, 0.0, 1.0))
    assert sizes == [3, 1, 1]  # 6 blocks, 3, 2, 1


def test_a_shared_student_learns_one_merge_as_a_student_of_its_own_could():
    """Of two steps the target is a fixed map; the shared network comes near, and only there."""
    plan = from_outline(T, ((6, 5, 4),))
    teacher, (jump,), _ = shared_jumps([plan], updates=300)
    x_T = torch.randn(2, 2000, 2, generator=keyed_generator(5))
    steps = [DenoiserJump(teacher, SCHEDULE, t, t - 1) for t in (6, 5)]
    with torch.no_grad():
        target, before = apply_jumps(steps, x_T), DenoiserJump(teacher, SCHEDULE, T, 4)(x_T)
        left = (jump(x_T) - target).square().mean() / (before - target).square().mean()
    assert left < 0.05


def test_blocks_of_several_plans_train_one_network_side_by_side():
    plans = [from_outline(6, ((6, 5, 4, 3),)), from_outline(3, ((3, 2, 1), (3, 1, 0)))]
    _, jumps, sizes = shared_jumps(plans, updates=1)
    assert sizes == [2, 1]
    assert jumps[0].network.shared is jumps[1].network.shared
