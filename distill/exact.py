"""Training runs simulated exactly in distribution: no batch is drawn and no step is taken.

A gradient step on ``mean (a x - target x)**2`` multiplies ``a - target`` by

    1 - 2 lr |emb|**2 m,  m = mean of x_start**2 over the batch                (SPEC 5)

and nothing else of the batch enters. So a merge leaves the share g = product of its brackets of
the way to its target undone, the recursion of [OM] eq. 16 turns the g of all merges into the final
operator, and to draw the operator it is enough to draw the m. For x_t ~ N(0, n_t) and B rows:

    per_time   one batch a time, for all merges that start there: m_t = n_t chi2_B / B and
               g = bracket**epochs
    per_merge  the same with an m of its own for every merge
    shared     one (x_0, eps) for all times, x_t = alpha_t x_0 + sigma_t eps:

                   m_t = alpha_t**2 W_11 + 2 alpha_t sigma_t W_12 + sigma_t**2 W_22

               with W the second moments of the B pairs (x_0, eps). B W is a Wishart matrix with B
               degrees of freedom and scale diag(lam, 1). Bartlett 1933 draws it as L L^T with
               L_11**2 ~ chi2_B, L_21 ~ N(0, 1), L_22**2 ~ chi2_{B-1}, all independent, here
               scaled by sqrt(lam) in the first row.
    fresh      a batch a gradient step: every bracket has an m of its own. The brackets are
               independent, so E[g] = (1 - 2 lr |emb|**2 n_t)**epochs, and the closed form is the
               exact mean. Fixed batches move the mean a little away from it, since
               E[bracket**epochs] > (E bracket)**epochs where the brackets are positive.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from distill.inputs import BatchRule
from distill.law import independent_mean_squares, sgd_shrinkage
from planner.plan import Plan
from planner.problem import Problem
from planner.value import merged_operator, per_dimension_operator

Array = NDArray[np.float64]
DRAWS_AT_ONCE = 1_000_000


def shared_mean_squares(
    schedule: NoiseSchedule,
    variances: Array,
    batch_size: int,
    num_runs: int,
    generator: np.random.Generator,
) -> Array:
    """Mean squares m_t where one draw of (x_0, eps) serves all times, (T, num_runs, d).

    The joint law over t is exact; see the module's derivation.
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
    epochs: int,
    fresh: bool,
    num_runs: int,
    generator: np.random.Generator,
) -> Array:
    """Shrinkage of a merge with its own batch, or one a gradient step if ``fresh``, (num_runs,)."""
    shape = batch_size / 2
    if not fresh:
        draws = generator.standard_gamma(shape, num_runs) / shape
        return sgd_shrinkage(second_moment * draws, lr, epochs)
    at_once = max(1, DRAWS_AT_ONCE // num_runs)
    shrinkage = np.ones(num_runs)
    for done in range(0, epochs, at_once):
        draws = generator.standard_gamma(shape, (min(at_once, epochs - done), num_runs)) / shape
        shrinkage *= sgd_shrinkage(second_moment * draws, lr, epochs=1).prod(axis=0)
    return shrinkage


def exact_operators(
    problem: Problem,
    plans: Sequence[Plan],
    rule: BatchRule,
    batch_size: int,
    lr: float,
    epochs: int,
    num_runs: int,
    seed: int,
) -> Array:
    """Final operators of independent training runs on Gaussian inputs, (num_runs, d).

    Args:
        plans: A plan over T steps for each of the d coordinates.
        epochs: Gradient steps a merge.
    """
    variances, moments = problem.variances, problem.second_moments
    if rule in ("per_merge", "fresh"):
        fresh = rule == "fresh"
        runs = np.empty((num_runs, len(variances)))
        for i, plan in enumerate(plans):

            def shrinkage_of(jump: Plan, i: int = i) -> Array:
                # Equal merges of two strategies see the same batches, as in real training.
                generator = np.random.default_rng([seed, i, jump.start, jump.stop])
                n = moments[jump.start - 1, i]
                return merge_shrinkage(n, batch_size, lr, epochs, fresh, num_runs, generator)

            runs[:, i] = merged_operator(plan, problem.operators[:, i], shrinkage_of)
        return runs

    generator = np.random.default_rng(seed)
    if rule == "shared":
        squares = shared_mean_squares(problem.schedule, variances, batch_size, num_runs, generator)
    else:
        shapes = np.full(moments.shape, batch_size / 2)
        squares = independent_mean_squares(moments, shapes, num_runs, generator)
    shrinkage = sgd_shrinkage(squares, lr, epochs)
    return per_dimension_operator(plans, problem.operators, shrinkage)
