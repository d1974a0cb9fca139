import numpy as np
import pytest

from diffusion.covariance import eigenbasis
from diffusion.schedule import cosine_schedule
from planner.per_dimension import per_dimension_plans
from planner.plan import merges
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.value import per_dimension_operator, plan_operator, w2_squared

RNG = np.random.default_rng(3)
MEAN = RNG.normal(size=4)
FACTOR = RNG.normal(size=(4, 4))
COVARIANCE = FACTOR @ FACTOR.T / 4


def denoising_step(schedule, t):
    """DDIM with the posterior mean of N(mu, Sigma): x_{t-1} = matrix x_t + offset ([OM] eq. 14)."""
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    identity = np.eye(4)
    gain = alpha * COVARIANCE @ np.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * identity)
    shift = (identity - alpha * gain) @ MEAN  # x_0 hat = gain x_t + shift
    below, above = schedule.alpha[t - 1], schedule.sigma[t - 1] / sigma
    matrix = below * gain + above * (identity - alpha * gain)
    return matrix, (below - above * alpha) * shift


def full_jump(data, schedule, operator, start, stop):
    """Matrix and offset of alpha_stop mu + U diag(operator) U^T (x_start - alpha_start mu)."""
    matrix = (data.basis * operator) @ data.basis.T
    return matrix, schedule.alpha[stop] * data.mean - schedule.alpha[start] * (matrix @ data.mean)


@pytest.mark.parametrize(("start", "stop"), [(8, 0), (8, 3), (5, 2), (1, 0)])
def test_steps_in_the_eigenbasis_are_those_of_the_full_denoiser(start, stop):
    schedule, data = cosine_schedule(8), eigenbasis(MEAN, COVARIANCE)
    problem = make_problem(schedule, data.variances).with_training(1.0)
    operator = problem.operators[stop:start].prod(axis=0)
    matrix, offset = full_jump(data, schedule, operator, start, stop)

    x = expected = RNG.normal(size=4)
    for t in range(start, stop, -1):
        step, shift = denoising_step(schedule, t)
        expected = step @ expected + shift
    np.testing.assert_allclose(matrix @ x + offset, expected, rtol=1e-9, atol=1e-12)


def test_merges_of_full_matrices_leave_what_the_plan_says():
    """[OM] eq. 16 with matrices: train from the noisiest part towards the product of the parts."""
    schedule, data, train_time = cosine_schedule(6), eigenbasis(MEAN, COVARIANCE), 0.7
    problem = make_problem(schedule, data.variances).with_training(train_time)
    plan = CANONICAL["progressive"](6)
    matrices = {(t, t - 1): denoising_step(schedule, t)[0] for t in range(1, 7)}
    for jump in merges(plan):
        noisiest, *cleaner = (matrices[part.start, part.stop] for part in jump.parts)
        target = noisiest
        for part in cleaner:
            target = part @ target
        alpha, sigma = schedule.alpha[jump.start], schedule.sigma[jump.start]
        noised = alpha**2 * COVARIANCE + sigma**2 * np.eye(4)
        rates, basis = np.linalg.eigh(noised)
        undone = (basis * np.exp(-2 * train_time * rates)) @ basis.T
        matrices[jump.start, jump.stop] = target + (noisiest - target) @ undone
    operator = plan_operator(plan, problem.operators, problem.shrinkage)
    matrix, _ = full_jump(data, schedule, operator, 6, 0)
    np.testing.assert_allclose(matrix, matrices[6, 0], rtol=1e-8, atol=1e-12)


def test_the_loss_in_the_eigenbasis_is_the_distance_of_the_full_gaussians():
    """Bures: W2**2 = tr(P + Q - 2 (P^1/2 Q P^1/2)^1/2) for covariances P and Q, equal means."""
    data = eigenbasis(MEAN, COVARIANCE)
    problem = make_problem(cosine_schedule(8), data.variances).with_training(0.4)
    plans = per_dimension_plans(problem)
    operator = per_dimension_operator(plans, problem.operators, problem.shrinkage)
    outputs = []
    for diagonal in (operator, problem.surrogate):
        matrix, offset = full_jump(data, cosine_schedule(8), diagonal, 8, 0)
        np.testing.assert_allclose(offset, MEAN)  # x_T is centred, so the output's mean is mu
        outputs.append(matrix @ matrix.T)
    root = root_of(outputs[0])
    overlap = root_of(root @ outputs[1] @ root)
    bures = np.trace(outputs[0] + outputs[1] - 2 * overlap)
    assert float(w2_squared(operator, problem.surrogate)) == pytest.approx(bures, rel=1e-6)


def root_of(covariance):
    variances, basis = np.linalg.eigh(covariance)
    return (basis * np.sqrt(np.maximum(variances, 0))) @ basis.T


def test_a_singular_covariance_keeps_variances_at_zero():
    data = eigenbasis(np.zeros(3), np.ones((3, 3)))
    np.testing.assert_allclose(data.variances, [0, 0, 3], atol=1e-14)
    assert (data.variances >= 0).all()


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]], r"\[0, 1\] is 0.5 and \[1, 0\] is 0.4"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue -1"),
        ([0.0, np.nan], [[1.0, 0.0], [0.0, 1.0]], r"mean\[1\] is nan"),
        ([0.0, 0.0], [[1.0, np.inf], [np.inf, 1.0]], r"covariance\[0, 1\] is inf"),
        ([0.0], [[1.0, 0.0], [0.0, 1.0]], r"shapes \(d,\) and \(d, d\)"),
    ],
)
def test_what_is_no_covariance_is_refused(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        eigenbasis(np.array(mean), np.array(covariance))
