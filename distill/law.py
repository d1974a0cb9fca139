"""The law of a training: what gradient descent will leave, in closed form and run by run.

A gradient step on ``w mean (a x - target x)**2`` multiplies ``a - target`` by

    1 - 2 lr |emb|**2 w m,  m = mean of x_start**2 over the batch    (docs/theory.md, 5)

and nothing else of the batch enters; w is the weight of the student's loss
(``planner.parametrisation``). So a merge leaves the share g of the distance to its target,
the product of the brackets of its gradient steps. The recursion of [OM] eq. 16 turns the g of all
merges into the final operator. Therefore m = n_t, its mean, predicts the operator in closed form,
and operators of training runs are simulated, exactly in distribution, by drawing the m alone: no
batch is drawn and no step is taken. For x_t ~ N(0, n_t) and B rows the batch rules give

    per_time   one batch per time, for all merges that start there: m_t = n_t chi2_B / B and
               g = bracket**steps
    per_merge  the same with an m of its own for every merge
    shared     one (x_0, eps) for all times, x_t = alpha_t x_0 + sigma_t eps:

                   m_t = alpha_t**2 W_11 + 2 alpha_t sigma_t W_12 + sigma_t**2 W_22

               with W the second moments of the B pairs (x_0, eps). B W is a Wishart matrix with B
               degrees of freedom and scale diag(lam, 1). Bartlett 1933 draws it as L L^T with
               L_11**2 ~ chi2_B, L_21 ~ N(0, 1), L_22**2 ~ chi2_{B-1}, all independent, here
               scaled by sqrt(lam) in the first row.
    fresh      one batch per gradient step: every bracket has an m of its own. The brackets are
               independent, so E[g] = (1 - 2 lr |emb|**2 n_t)**steps, and the closed form is the
               exact mean. Fixed batches move the mean a little away from it, since
               E[bracket**steps] > (E bracket)**steps where the brackets are positive.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseLevels
from distill.inputs import BatchRule, Inputs
from distill.train import SQUARED_NORM, same_steps
from planner.budget import MergeSteps
from planner.plan import Plan, by_merge
from planner.problem import Problem

Array = NDArray[np.float64]
DRAWS_AT_ONCE = 1_000_000


def sgd_shrinkage(
    mean_squares: Array, lr: float, steps_per_merge: int | NDArray[np.int64]
) -> Array:
    """Share of the distance to its target that a student keeps, elementwise.

        g = (1 - 2 lr |emb|**2 m)**steps,  m = mean of x_start**2 over the batch

    With m = n_t this is the discrete form of [OM] eq. 17.

    Args:
        mean_squares: m, of any shape that ``steps_per_merge`` broadcasts to.
        steps_per_merge: Gradient steps of the merge, or of the merge of each coordinate, (d,).
    """
    return (1.0 - 2.0 * lr * SQUARED_NORM * mean_squares) ** steps_per_merge


def decay_rates(second_moments: Array, lr: float) -> Array:
    """Rates r_t at which gradient flow would shrink a gap as gradient descent does, (T, d).

        exp(-2 s r) = |1 - 2 lr |emb|**2 n|**steps,  s = lr |emb|**2 steps

    r is n_t for small ``lr``. The planner computes with exp(-2 s r); with these rates it plans for
    the gradient steps that are really taken. Where a bracket is negative, its size counts.
    """
    brackets = np.abs(1.0 - 2.0 * lr * SQUARED_NORM * second_moments)
    return -np.log(np.maximum(brackets, np.finfo(float).tiny)) / (2.0 * lr * SQUARED_NORM)


def train_time(lr: float, steps: int) -> float:
    """The time s of gradient flow that this number of gradient steps stands for ([OM] eq. 17)."""
    return lr * SQUARED_NORM * steps


def largest_stable_lr(mean_squares: Array) -> float:
    """Learning rates below this one keep every bracket of ``sgd_shrinkage`` above -1."""
    return 1.0 / (SQUARED_NORM * float(np.max(mean_squares)))


def refuse_unstable(lr: float, problem: Problem) -> None:
    """Refuse a learning rate whose gradient steps diverge: 2 lr |emb|**2 w n >= 2 somewhere.

    Raises:
        ValueError: with the variance, the limit and the learning rates that work.
    """
    curvatures = problem.second_moments
    if problem.parametrisation.kind == "denoiser":  # the jumps of merges span two steps or more
        curvatures = curvatures * np.tril(problem.weights, -2).max(axis=1)[1:, None]
    largest = largest_stable_lr(curvatures) if curvatures.any() else np.inf
    if lr >= largest:
        i = int(np.argmax(curvatures.max(axis=0)))
        raise ValueError(
            f"--lr {lr} is unstable for coordinate {i} with variance {problem.variances[i]:.6g}; "
            f"below {largest:.6g} it is stable (the second moment of its inputs reaches "
            f"{curvatures[:, i].max():.6g}, the limit at this rate is "
            f"{1.0 / (SQUARED_NORM * lr):.6g})"
        )


def operators_after(
    problem: Problem,
    plans: Sequence[Plan],
    mean_squares: Array,
    lr: float,
    steps_per_merge: int | MergeSteps,
) -> Array:
    """Operators that gradient descent ends with, in closed form, (..., d).

    The operator of a student of K steps is the product over its steps.

    Args:
        plans: One plan per step of the student and coordinate, K d of them, step by step.
        mean_squares: m_t of the batches, (T, ..., d); row t - 1 belongs to t.
        steps_per_merge: Gradient steps of every merge, the same for all or one by one.
    """
    width = mean_squares.shape[-1]
    steps = same_steps(plans, steps_per_merge)
    shares = [slice(first, first + width) for first in range(0, len(plans), width)]
    operators = [
        _operators_of_share(problem, plans[share], mean_squares, lr, steps[share])
        for share in shares
    ]
    product: Array = np.prod(operators, axis=0)
    return product


def _operators_of_share(
    problem: Problem,
    plans: Sequence[Plan],
    mean_squares: Array,
    lr: float,
    steps: MergeSteps,
) -> Array:
    """Operators of one step of the student, (..., d), with one plan per coordinate.

    Coordinates that share a plan object are computed together.

    Args:
        mean_squares: m_t of the batches, (T, ..., d); row t - 1 belongs to t.
        steps: Gradient steps of every merge of each plan.
    """
    operators = np.empty(mean_squares.shape[1:])
    weights = problem.weights
    columns: dict[int, list[int]] = {}  # plan object -> the coordinates that have it
    for i, plan in enumerate(plans):
        columns.setdefault(id(plan), []).append(i)
    for shared in columns.values():
        plan, own = plans[shared[0]], np.array(shared)
        of_merges = by_merge(plan, np.array([steps[i] for i in shared]).T)  # (own,) each

        # BOOT's merges all start at T, so most have the same shrinkage. It is the costly part.
        @lru_cache(maxsize=1)
        def shrinkage(
            start: int, weight: float, counts: tuple[int, ...], own: NDArray[np.intp] = own
        ) -> Array:
            squares = (weight * mean_squares[start - 1])[..., own]
            return sgd_shrinkage(squares, lr, np.array(counts))

        def shrinkage_of(
            jump: Plan,
            shrinkage: Callable[[int, float, tuple[int, ...]], Array] = shrinkage,
            of_merges: dict[tuple[int, int], NDArray[np.int64]] = of_merges,
        ) -> Array:
            counts = tuple(of_merges[jump.start, jump.stop].tolist())
            return shrinkage(jump.start, float(weights[jump.start, jump.stop]), counts)

        operators[..., own] = problem.select(own).operator_of(plan, shrinkage_of)
    return operators


def simulate_operators(
    plans: Sequence[Plan],
    problem: Problem,
    inputs: Inputs,
    lr: float,
    steps_per_merge: int | MergeSteps,
    num_runs: int,
    seed: int,
) -> Array:
    """Final operators of training runs on one batch per time, (num_runs, d), with no training.

    Args:
        plans: One plan per step of the student and coordinate, K d of them, step by step.
        inputs: Gaussian inputs or noised latents; only their moments are used.
        steps_per_merge: Gradient steps of every merge, the same for all or one by one.
    """
    mean_squares = _simulated_mean_squares(inputs, num_runs, seed)
    return operators_after(problem, plans, mean_squares, lr, steps_per_merge)


@lru_cache(maxsize=1)
def _simulated_mean_squares(inputs: Inputs, num_runs: int, seed: int) -> Array:
    """Mean squares m_t of simulated runs, (T, num_runs, d); all jobs of a seed have the same."""
    shapes = inputs.batch_size / inputs.relative_spreads
    generator = np.random.default_rng(seed)
    return independent_mean_squares(inputs.second_moments, shapes, num_runs, generator)


def simulate_gaussian_operators(
    problem: Problem,
    plans: Sequence[Plan],
    rule: BatchRule,
    batch_size: int,
    lr: float,
    steps_per_merge: int,
    num_runs: int,
    seed: int,
) -> Array:
    """Final operators of training runs on Gaussian inputs under a batch rule, (num_runs, d).

    Args:
        plans: One plan for each of the d coordinates.
        rule: What one batch is used for; see the derivation above.
    """
    variances, moments = problem.variances, problem.second_moments
    if rule in ("per_merge", "fresh"):
        runs = np.empty((num_runs, len(variances)))
        for i, plan in enumerate(plans):

            def shrinkage_of(jump: Plan, i: int = i) -> Array:
                # Equal merges of two strategies see the same batches, as in real training.
                generator = np.random.default_rng([seed, i, jump.start, jump.stop])
                return merge_shrinkage(
                    problem.weights[jump.start, jump.stop] * moments[jump.start - 1, i],
                    batch_size,
                    lr,
                    steps_per_merge,
                    rule == "fresh",
                    num_runs,
                    generator,
                )[:, None]

            runs[:, i] = problem.select(np.array([i])).operator_of(plan, shrinkage_of)[..., 0]
        return runs

    generator = np.random.default_rng(seed)
    if rule == "shared":
        squares = shared_mean_squares(problem.schedule, variances, batch_size, num_runs, generator)
    else:
        shapes = np.full(moments.shape, batch_size / 2)
        squares = independent_mean_squares(moments, shapes, num_runs, generator)
    return operators_after(problem, plans, squares, lr, steps_per_merge)


def independent_mean_squares(
    second_moments: Array, shapes: Array, num_runs: int, generator: np.random.Generator
) -> Array:
    """Mean squares m_t of independent batches, one per time and run, (T, num_runs, d).

    For Gaussian inputs m_t is exactly n_t chi2_B / B, the Gamma law of shape B / 2. For other
    inputs the Gamma law with the same mean and variance is close, because m_t is a mean over a
    large batch.

    Args:
        second_moments: n_t, (T, d).
        shapes: Shape of the Gamma law, B n_t**2 / Var(x_t**2), (T, d).
    """
    num_steps, width = second_moments.shape
    shapes = shapes[:, None, :]
    # In place, because these are gigabytes for ten thousands of coordinates.
    draws: Array = generator.standard_gamma(shapes, (num_steps, num_runs, width))
    draws /= shapes
    draws *= second_moments[:, None, :]
    return draws


def shared_mean_squares(
    schedule: NoiseLevels,
    variances: Array,
    batch_size: int,
    num_runs: int,
    generator: np.random.Generator,
) -> Array:
    """Mean squares m_t where one draw of (x_0, eps) serves all times, (T, num_runs, d).

    The joint law over t is exact; see the derivation above.
    """
    size = (num_runs, len(variances))
    l_11 = np.sqrt(generator.chisquare(batch_size, size))
    l_21 = generator.standard_normal(size)
    # A single row leaves no degree of freedom: chi2_0 is 0.
    l_22_squared = generator.chisquare(batch_size - 1, size) if batch_size > 1 else np.zeros(size)
    x_0_squared = variances * l_11**2 / batch_size  # W_11
    x_0_eps = np.sqrt(variances) * l_11 * l_21 / batch_size  # W_12
    eps_squared = (l_21**2 + l_22_squared) / batch_size  # W_22
    alpha, sigma = schedule.alpha[1:, None, None], schedule.sigma[1:, None, None]
    return alpha**2 * x_0_squared + 2.0 * alpha * sigma * x_0_eps + sigma**2 * eps_squared


def merge_shrinkage(
    second_moment: float,
    batch_size: int,
    lr: float,
    steps: int,
    fresh: bool,
    num_runs: int,
    generator: np.random.Generator,
) -> Array:
    """Shrinkage of one merge with batches of its own, (num_runs,).

    Args:
        second_moment: n_t of the merge's inputs, times the weight of its loss.
        steps: Gradient steps of the merge.
        fresh: Whether every gradient step has its own batch, or all share one.
    """
    shape = batch_size / 2
    if not fresh:
        draws = generator.standard_gamma(shape, num_runs) / shape
        return sgd_shrinkage(second_moment * draws, lr, steps)
    at_once = max(1, DRAWS_AT_ONCE // num_runs)
    shrinkage = np.ones(num_runs)
    for done in range(0, steps, at_once):
        draws = generator.standard_gamma(shape, (min(at_once, steps - done), num_runs)) / shape
        shrinkage *= sgd_shrinkage(second_moment * draws, lr, steps_per_merge=1).prod(axis=0)
    return shrinkage
