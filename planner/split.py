"""The best split of a total training time over the merges of a given plan."""

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, merges

Array = NDArray[np.float64]

MOST_ITERATIONS = 5_000
STATIONARY = 1e-12  # relative to the loss
ARMIJO = 1e-4
LEAST_LENGTH = 1e-12  # of a move; below it, the loss falls no further in floating point


def best_split(
    plan: Plan, operators: Array, noised: Array, surrogate: Array, total_time: float
) -> Array:
    """Training times of the merges of ``plan``, in execution order, that sum to ``total_time``.

    Least W2**2 over all splits, by projected gradients with Barzilai & Borwein's step from the
    equal split; a local optimum, never worse than the equal split.

    Args:
        noised: Variance n_t of x_t, (T, d); row t - 1 belongs to t.
    """
    jumps = list(merges(plan))
    if not jumps:
        return np.empty(0)
    times = np.full(len(jumps), total_time / len(jumps))
    loss, slope = split_loss(jumps, times, operators, noised, surrogate)
    step = total_time / max(np.abs(slope).max(), np.finfo(float).tiny)
    for _ in range(MOST_ITERATIONS):
        move = onto_simplex(times - step * slope, total_time) - times
        expected = float(move @ slope)
        if expected > -STATIONARY * loss:
            break
        length = 1.0
        while True:
            trial = times + length * move
            new_loss, new_slope = split_loss(jumps, trial, operators, noised, surrogate)
            if new_loss <= loss + ARMIJO * length * expected or length < LEAST_LENGTH:
                break
            length /= 2.0
        if new_loss >= loss:
            break
        change, bend = trial - times, float((trial - times) @ (new_slope - slope))
        step = float(change @ change) / bend if bend > 0 else 10.0 * step
        times, loss, slope = trial, new_loss, new_slope
    return times


def split_loss(
    jumps: list[Plan], times: Array, operators: Array, noised: Array, surrogate: Array
) -> tuple[float, Array]:
    """W2**2 of a plan whose merges train for ``times``, and its gradient by them.

        value = r ((1 - g) P + g),  g = exp(-2 s n_b)

    for the noisiest part r and the product P of the others ([OM] eq. 16, 17); the gradient goes
    back through the same tree.
    """
    values = {(t + 1, t): operator for t, operator in enumerate(operators)}
    shrinkage = np.exp(-2.0 * times[:, None] * noised[[jump.start - 1 for jump in jumps]])
    for jump, g in zip(jumps, shrinkage, strict=True):
        first, others = _factors(jump, values)
        values[jump.start, jump.stop] = first * ((1.0 - g) * others.prod(axis=0) + g)
    whole = jumps[-1]
    error = values[whole.start, whole.stop] - surrogate
    blame = {(whole.start, whole.stop): 2.0 * error}  # derivative by the value of each merge
    slope = np.empty_like(times)
    for k, (jump, g) in reversed(list(enumerate(zip(jumps, shrinkage, strict=True)))):
        own = blame.pop((jump.start, jump.stop))
        first, others = _factors(jump, values)
        product = others.prod(axis=0)
        slope[k] = own @ (first * (1.0 - product) * -2.0 * noised[jump.start - 1] * g)
        for place, part in enumerate(jump.parts):
            if not part.parts:
                continue
            if place == 0:
                inner = (1.0 - g) * product + g
            else:
                inner = (1.0 - g) * first * np.delete(others, place - 1, axis=0).prod(axis=0)
            blame[part.start, part.stop] = own * inner
    return float(error @ error), slope


def _factors(jump: Plan, values: dict[tuple[int, int], Array]) -> tuple[Array, Array]:
    """The noisiest part's operator, (d,), and the others', (parts - 1, d)."""
    first, *others = (values[part.start, part.stop] for part in jump.parts)
    return first, np.stack(others)


def onto_simplex(point: Array, total: float) -> Array:
    """The nearest point with coordinates >= 0 that sum to ``total`` (Held et al. 1974)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(point) + 1)
    shift = float(excess[np.flatnonzero(falling > excess)[-1]])
    return np.maximum(point - shift, 0.0)
