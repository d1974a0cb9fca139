"""The students against the closed form of plain gradient descent, batch by batch and on average."""

import numpy as np
import pytest
import torch

from diffusion.schedule import cosine_schedule
from distill.inputs import gaussian_inputs, latent_inputs
from distill.jobs import plan_stage, steps_per_merge
from distill.law import (
    largest_stable_lr,
    operators_after,
    refuse_unstable,
    sgd_shrinkage,
    simulate_operators,
)
from distill.train import (
    SQUARED_NORM,
    count_steps,
    least_norm_parameters,
    time_embedding,
    train_students,
    training_rounds,
)
from planner.budget import Stage
from planner.parametrisation import Parametrisation
from planner.plan import merge, merges, step
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator

CPU = torch.device("cpu")
LR = 1e-3
STRATEGIES = [*CANONICAL, "greedy", "per_dimension"]


def batch_mean_squares(inputs, num_steps: int) -> np.ndarray:
    return np.stack([inputs.draw(t).double().square().mean(0) for t in range(1, num_steps + 1)])


def test_every_embedding_has_squared_norm_32():
    embeddings = time_embedding(torch.linspace(0, 1, 50, dtype=torch.float64))
    torch.testing.assert_close(
        embeddings.square().sum(dim=1), torch.full((50,), 32.0, dtype=torch.float64)
    )
    assert embeddings[1, 0] == pytest.approx(np.sin(10_000 ** (-2 / 64) / 49))


def test_initial_parameters_are_the_smallest_that_give_the_operators():
    embeddings = time_embedding(torch.linspace(0.1, 1, 6, dtype=torch.float64))
    operators = torch.rand(6, 3, dtype=torch.float64)
    theta = least_norm_parameters(operators, embeddings)
    for t in range(6):
        least = np.linalg.lstsq(embeddings[t : t + 1].numpy(), operators[t : t + 1].numpy())[0]
        np.testing.assert_allclose(theta[t].numpy(), least.T, atol=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["gaussian", "latents"])
def test_gradient_descent_ends_where_the_recursion_with_its_own_batches_says(strategy, kind):
    """No statistics here: given the batches, plain gradient descent is the merge rule exactly."""
    variances = np.array([0.1, 0.6, 0.97, 1.0, 1.05, 1.4, 3.0])
    problem = make_problem(cosine_schedule(9), variances)
    if kind == "gaussian":
        inputs = gaussian_inputs(problem.schedule, variances, batch_size=64, seed=3)
    else:
        codes = torch.rand(300, 7, generator=torch.Generator().manual_seed(1)) - 0.5
        x_0 = (codes - codes.mean(dim=0)) * torch.from_numpy(12 * variances).sqrt().float()
        inputs = latent_inputs(problem.schedule, x_0, batch_size=64, seed=3)
    for steps in (1, 25):
        plans = plan_stage(Stage("per_merge", steps), problem, LR).plans[strategy]
        trained = train_students(plans, problem, inputs, steps, LR, CPU)
        own_g = sgd_shrinkage(batch_mean_squares(inputs, 9), LR, steps)
        recursion = per_dimension_operator(plans, problem.operators, own_g)
        np.testing.assert_allclose(trained, recursion, rtol=2e-5)  # float32 students


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_mean_operators_agree_with_the_closed_form_within_5_standard_errors(strategy):
    """60 coordinates of one variance are 60 independent trials, as coordinates never meet.

    A batch of 2560 biases the mean by at most half its spread's square, here under 0.2 standard
    errors of 60 trials.
    """
    trials, levels = 60, np.array([0.2, 0.9, 1.02, 2.0])
    variances = np.repeat(levels, trials)
    problem = make_problem(cosine_schedule(8), variances)
    inputs = gaussian_inputs(problem.schedule, variances, batch_size=2560, seed=0)
    shrinkage = sgd_shrinkage(inputs.second_moments, LR, steps_per_merge=10)
    plans = plan_stage(Stage("per_merge", 10), problem, LR).plans[strategy]
    trained = train_students(plans, problem, inputs, 10, LR, CPU)
    predicted = per_dimension_operator(plans, problem.operators, shrinkage)
    by_level = (trained - predicted).reshape(len(levels), trials)
    standard_error = by_level.std(axis=1, ddof=1) / np.sqrt(trials)
    assert (np.abs(by_level.mean(axis=1)) < 5 * standard_error).all()
    assert (standard_error < 2e-3 * trained.mean()).all()  # tight enough to notice an error


def test_simulated_runs_have_the_law_of_trained_ones():
    """Means and spreads over 400 trials, against 400 simulated runs; 5 standard errors each."""
    trials, steps = 400, 100
    variances = np.repeat([0.3, 1.5], trials)
    problem = make_problem(cosine_schedule(4), variances)
    inputs = gaussian_inputs(problem.schedule, variances, batch_size=256, seed=5)
    plans = (CANONICAL["progressive"](4),) * len(variances)
    trained = train_students(plans, problem, inputs, steps, LR, CPU).reshape(2, trials)

    columns = [0, trials]
    few = gaussian_inputs(problem.schedule, variances[columns], batch_size=256, seed=0)
    simulated = simulate_operators(
        plans[:2], problem.select(np.array(columns)), few, LR, steps, trials, seed=1
    ).T
    for real, drawn in zip(trained, simulated, strict=True):
        error = np.hypot(real.std(), drawn.std()) / np.sqrt(trials)
        assert abs(real.mean() - drawn.mean()) < 5 * error
        assert abs(np.log(real.std() / drawn.std())) < 5 * np.sqrt(1 / trials)


def test_batches_have_the_moments_that_the_prediction_uses():
    codes = torch.distributions.Laplace(0.0, 0.7).sample((5_000, 2))
    x_0, schedule = codes - codes.mean(dim=0), cosine_schedule(5)
    for inputs in (
        latent_inputs(schedule, x_0, 200_000, seed=0),
        gaussian_inputs(schedule, np.array([0.5, 2.0]), 200_000, seed=0),
    ):
        for t in range(1, 6):
            squares = inputs.draw(t).double().square().numpy()
            spread = inputs.relative_spreads[t - 1]
            np.testing.assert_allclose(squares.mean(0), inputs.second_moments[t - 1], rtol=0.03)
            np.testing.assert_allclose(squares.var(0) / squares.mean(0) ** 2, spread, rtol=0.15)


def test_a_batch_depends_only_on_seed_and_time():
    schedule = cosine_schedule(3)
    a, b = (gaussian_inputs(schedule, np.ones(2), 10, seed) for seed in (1, 2))
    first = a.draw(2)
    a.draw(3)
    assert torch.equal(a.draw(2), first)
    assert not torch.equal(a.draw(3), first)
    assert not torch.equal(b.draw(2), first)


def test_coordinates_do_not_depend_on_each_others_plans():
    problem = make_problem(cosine_schedule(3), np.array([0.5, 0.5]))
    inputs = gaussian_inputs(problem.schedule, problem.variances, 32, seed=0)
    early, late = merge(step(3), merge(step(2), step(1))), merge(merge(step(3), step(2)), step(1))

    def train(*plans):
        return train_students(plans, problem, inputs, 20, LR, CPU)

    assert train(early, late)[0] == pytest.approx(train(early, early)[0], rel=1e-6)
    assert train(early, late)[1] == pytest.approx(train(late, late)[1], rel=1e-6)
    assert train(early, late)[0] != pytest.approx(train(late, late)[0], rel=1e-6)


def test_one_teacher_step_is_its_own_student():
    problem = make_problem(cosine_schedule(1), np.array([0.5, 2.0]))
    inputs = gaussian_inputs(problem.schedule, problem.variances, 4, seed=0)
    trained = train_students((step(1), step(1)), problem, inputs, 5, LR, CPU)
    np.testing.assert_allclose(trained, problem.operators[0], atol=1e-7)


def test_above_the_stable_rate_students_diverge_and_are_refused():
    problem = make_problem(cosine_schedule(2), np.array([4.0]))
    inputs = gaussian_inputs(problem.schedule, problem.variances, 1000, seed=0)
    limit = largest_stable_lr(inputs.second_moments)
    assert abs(sgd_shrinkage(inputs.second_moments, 0.99 * limit, 1)).max() < 1
    assert abs(sgd_shrinkage(inputs.second_moments, 1.01 * limit, 1)).max() > 1
    assert limit == pytest.approx(1 / (SQUARED_NORM * inputs.second_moments.max()))
    with pytest.raises(FloatingPointError, match=r"x_2 -> x_0 is not finite.*lower --lr"):
        train_students((CANONICAL["vanilla"](2),), problem, inputs, 2000, 3 * limit, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_the_same_students():
    problem = make_problem(cosine_schedule(8), np.linspace(0.1, 2, 16))
    inputs = gaussian_inputs(problem.schedule, problem.variances, 256, seed=0)
    plans = (CANONICAL["sequential_boot"](8),) * 16
    on_cpu = train_students(plans, problem, inputs, 20, LR, CPU)
    on_gpu = train_students(plans, problem, inputs, 20, LR, torch.device("cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4)


def train_by_autograd(problem, plan, i, moments, steps):
    """One coordinate by SGD on its losses as they are defined, through the DDIM formula itself.

    Args:
        moments: Mean square of the batch of every time, (T,).
    """
    alpha, sigma = problem.schedule.alpha, problem.schedule.sigma
    kind = problem.parametrisation
    variance = problem.variances[i]

    def x_0_of(b, phi, x):
        return phi * x if kind.prediction == "x_0" else alpha[b] * x - sigma[b] * phi * x

    def jump(b, u, phi, x):
        x_0 = x_0_of(b, phi, x)
        return alpha[u] * x_0 + sigma[u] * (x - alpha[b] * x_0) / sigma[b]

    def quantity(b, u, x_0, x):
        if kind.loss == "x_0":
            return x_0
        if kind.loss == "v":
            return (alpha[b] * x - x_0) / sigma[b]
        return alpha[u] * x_0 + sigma[u] * (x - alpha[b] * x_0) / sigma[b]

    students = {}
    for t in range(1, problem.num_steps + 1):
        share = alpha[t] * variance / (alpha[t] ** 2 * variance + sigma[t] ** 2)  # E[x_0 | x_t]
        students[t] = share if kind.prediction == "x_0" else (alpha[t] - share) / sigma[t]
    for whole in merges(plan):
        b, u = whole.start, whole.stop
        x = torch.tensor([moments[b - 1]]).sqrt()  # one input with the batch's mean square
        z = x
        for part in whole.parts:
            z = jump(part.start, part.stop, students[part.start], z)
        at_0, at_1 = (quantity(b, u, x_0, x) for x_0 in (0.0, 1.0))
        z_0, z_1 = (
            alpha[u] * x_0 + sigma[u] * (x - alpha[b] * x_0) / sigma[b] for x_0 in (0.0, 1.0)
        )
        target = at_0 + (at_1 - at_0) * (z - z_0) / (z_1 - z_0)
        phi = torch.tensor([float(students[b])], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([phi], lr=LR * SQUARED_NORM)
        for _ in range(steps):
            loss = (quantity(b, u, x_0_of(b, phi, x), x) - target).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        students[b] = phi.item()
    return float(jump(plan.start, plan.stop, students[plan.start], 1.0))


@pytest.mark.parametrize("prediction", ["x_0", "v"])
@pytest.mark.parametrize("loss", ["x_0", "z", "v"])
def test_denoisers_train_as_their_losses_and_the_closed_form_say(loss, prediction):
    variances, num_steps, steps = np.array([0.1, 1.0, 3.0]), 5, 20
    kind = Parametrisation("denoiser", loss, prediction)
    problem = make_problem(cosine_schedule(num_steps), variances, kind)
    inputs = gaussian_inputs(problem.schedule, variances, batch_size=16, seed=4)
    squares = batch_mean_squares(inputs, num_steps)
    three = merge(merge(step(5), step(4)), step(3), merge(step(2), step(1)))
    for plan in (*(make(num_steps) for make in CANONICAL.values()), three):
        plans = (plan,) * len(variances)
        closed_form = operators_after(problem, plans, squares, LR, steps)
        trained = train_students(plans, problem, inputs, steps, LR, CPU, dtype=torch.float64)
        np.testing.assert_allclose(trained, closed_form, rtol=1e-6)  # batches are float32
        by_autograd = [train_by_autograd(problem, plan, i, squares[:, i], steps) for i in range(3)]
        np.testing.assert_allclose(closed_form, by_autograd, rtol=1e-10)


def test_denoisers_diverge_above_their_own_limit():
    """A v loss is steeper at cleaner times: there its limit lies below that of an x_0 loss."""
    steep = make_problem(cosine_schedule(8), np.array([0.5]), Parametrisation("denoiser", "v"))
    flat = make_problem(cosine_schedule(8), np.array([0.5]), Parametrisation("denoiser", "x_0"))
    refuse_unstable(1e-2, flat)
    with pytest.raises(ValueError, match="unstable for coordinate 0"):
        refuse_unstable(1e-2, steep)


@pytest.mark.parametrize("budget", ["per_merge", "total"])
@pytest.mark.parametrize("student_steps", [1, 2])
def test_gradient_steps_are_counted_as_the_lessons_take_them(budget, student_steps):
    """The count lists no lessons; 300 coordinates make some of a round wait for each other."""
    problem = make_problem(cosine_schedule(8), np.geomspace(0.2, 4.0, 300))
    stage = Stage(budget, 5, student_steps)
    for plans in plan_stage(stage, problem, LR).plans.values():
        steps = steps_per_merge(plans, stage)
        lessons = [own for together in training_rounds(plans, steps, 300) for own in together]
        assert count_steps(plans, steps) == sum(own.steps for own in lessons)
    assert len(lessons) > 3
