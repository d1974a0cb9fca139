"""Planning problems for tests, and what a test of optimality compares."""

import numpy as np

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import cosine_schedule
from planner.fronts import best_blocks, interval_fronts, nearest_to
from planner.problem import MergeProblem


def problem(num_steps, variances, train_time):
    variances = np.asarray(variances, dtype=float)
    schedule = cosine_schedule(num_steps)
    operators = ddim_operators(schedule, variances)
    shrinkage = np.exp(-2 * train_time * noised_variances(schedule, variances))
    return operators, shrinkage, surrogate_composite(operators, variances)


def posed(operators, shrinkage, variances):
    """The same problem as one object, as the planners take it."""
    variances = np.asarray(variances, dtype=float)
    surrogate = surrogate_composite(operators, variances)
    return MergeProblem(variances, operators, surrogate, shrinkage)


def greedy_plan(operators, shrinkage, variances):
    """One plan for all coordinates by Algorithm 1, over rows even where there is one coordinate."""
    whole = posed(operators, shrinkage, variances)
    keep = nearest_to(whole.surrogate)
    (plan,) = best_blocks(interval_fronts(whole, keep), 1, whole.surrogate, keep)
    return plan


def assert_no_error_is_below(found, rivals, surrogate):
    """``found`` (d,) is as near to the surrogate as the nearest of ``rivals`` (n, d)."""
    least = np.abs(surrogate - rivals).min(axis=0)
    np.testing.assert_allclose(np.abs(surrogate - found), least, rtol=1e-10, atol=1e-14)
