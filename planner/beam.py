"""Beam search: every block keeps a few values that look best from different sides."""

import numpy as np
from numpy.typing import NDArray

from planner.fronts import Block, Keep, Rows, best_blocks, interval_fronts, nearest_to
from planner.improve import improve
from planner.plan import Plan
from planner.problem import MergeProblem
from planner.value import product_operator, w2_squared

Array = NDArray[np.float64]

WIDTH = 16  # values that a block keeps; 16 found the optimum wherever the tests know it
ROUNDS = 4
LEAST_GAIN = 1e-9  # relative gain of a round that is worth another
NUM_WAVES = 5
SPREAD = 2.0


def beam_blocks(problem: MergeProblem, num_operators: int) -> tuple[Plan, ...]:
    """A plan for each of K blocks, noisiest first, never worse than Algorithm 1's.

    Rounds of search and local improvement, each from the weights that the best plan so far gives
    the coordinates, until a round gains nothing.
    """
    operators, shrinkage, surrogate = problem.operators, problem.shrinkage, problem.surrogate

    def operator_of(blocks: tuple[Plan, ...]) -> Array:
        return product_operator(blocks, operators, shrinkage)

    def loss(blocks: tuple[Plan, ...]) -> float:
        return float(w2_squared(operator_of(blocks), surrogate))

    keep = nearest_to(surrogate)
    fronts = interval_fronts(operators, shrinkage, keep)
    greedy = best_blocks(fronts, num_operators, surrogate, keep)
    best = improve(greedy, problem, fronts)
    for _ in range(ROUNDS):
        keep = best_along(directions(problem, operator_of(best)))
        fronts = interval_fronts(operators, shrinkage, keep)
        found = best_blocks(fronts, num_operators, surrogate, keep)
        rivals = [improve(blocks, problem, fronts) for blocks in (best, found)]
        winner = min(rivals, key=loss)
        if loss(winner) >= loss(best) * (1.0 - LEAST_GAIN):
            break
        best = winner
    return min((greedy, best), key=loss)


def directions(problem: MergeProblem, operator: Array) -> Array:
    """Signed weights of the coordinates of a block's relative change, (WIDTH, d).

    Row 0 is the gradient of W2**2 at a student with ``operator``: a block that changes by a share
    dx of itself changes a product by the same share, and the loss by 2 |S - a| a |dx|. The other
    rows tilt it by smooth random waves along the sorted variances, for coordinates of like
    variance want like plans.
    """
    gradient = np.abs(operator - problem.surrogate) * operator
    gradient = np.maximum(gradient, 1e-6 * gradient.max())  # no coordinate is left out
    width = len(gradient)
    place = np.argsort(np.argsort(problem.variances)) / max(1, width - 1)
    frequency = np.arange(1, min(width - 1, NUM_WAVES) + 1)
    waves = np.cos(np.pi * frequency[:, None] * place)
    heights = SPREAD * np.random.default_rng(0).standard_normal((WIDTH, len(frequency)))
    heights[0] = 0.0
    weights: Array = problem.towards * gradient * np.exp(heights @ waves)
    return weights


def best_along(weights: Array) -> Keep:
    """Keep the best candidate along each direction, relative to the first candidate."""

    def keep(block: Block, candidates: Array) -> Rows:
        relative = np.divide(
            weights, candidates[0], out=np.zeros_like(weights), where=candidates[0] > 0
        )
        return np.unique(np.argmax(candidates @ relative.T, axis=0))

    return keep
