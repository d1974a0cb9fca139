"""The value of a plan: the operator of the student that it ends with, in closed form."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, merges

Array = NDArray[np.float64]

OPERATOR_ROUNDING = 1e-13
"""Relative rounding of operators: differences below it mean nothing."""


def plan_operator(plan: Plan, operators: Array, shrinkage: Array) -> Array:
    """Operator of the student that ``plan`` ends with.

        value = (1 - g_b) prod(parts) + g_b (noisiest part),  b = start of the merge

    [OM] eq. 16. The student of a merge starts as the noisiest part, and gradient flow leads it
    towards the product of all parts. The shrinkage g_b is the share of the way that remains.

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, ..., d). Axes in between, such as trials, are kept.

    Returns:
        The operator, (..., d).
    """

    def train(jump: Plan, first: Array, product: Array) -> Array:
        g: Array = shrinkage[jump.start - 1]
        return (1.0 - g) * product + g * first

    return trained_operator(plan, operators, train)


def trained_operator(
    plan: Plan, operators: Array, train: Callable[[Plan, Array, Array], Array]
) -> Array:
    """Operator of the student that ``plan`` ends with, for any law of training.

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        train: (merge, operator of its noisiest part, product of its parts) -> the operator that
            its student has after training, (..., d); called once per merge.

    Returns:
        The operator, (..., d).
    """
    values: dict[tuple[int, int], Array] = {}

    def value_of(part: Plan) -> Array:
        # A part belongs to one whole only, so its value is not needed again.
        return values.pop((part.start, part.stop)) if part.parts else operators[part.start - 1]

    for jump in merges(plan):
        parts = [value_of(part) for part in jump.parts]
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        values[jump.start, jump.stop] = train(jump, parts[0], product)
    return value_of(plan)


def product_operator(blocks: Sequence[Plan], operators: Array, shrinkage: Array) -> Array:
    """Operator of a student of several steps, (..., d).

    Args:
        blocks: One plan per step of the student.
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, ..., d).
    """
    product = np.ones(shrinkage.shape[1:])
    for plan in blocks:
        product = product * plan_operator(plan, operators, shrinkage)
    return product


def per_dimension_operator(plans: Sequence[Plan], operators: Array, shrinkage: Array) -> Array:
    """Operator of students that have one plan per coordinate, (..., d).

    Coordinates that share a plan object are computed together.

    Args:
        plans: One plan per coordinate, d of them.
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, ..., d).
    """
    columns: dict[int, list[int]] = {}
    for i, plan in enumerate(plans):
        columns.setdefault(id(plan), []).append(i)
    operator = np.empty(shrinkage.shape[1:])
    for shared in columns.values():
        operator[..., shared] = plan_operator(
            plans[shared[0]], operators[:, shared], shrinkage[..., shared]
        )
    return operator


def w2_squared(operator: Array, surrogate: Array) -> Array:
    """Squared 2-Wasserstein distance of the outputs for unit Gaussian input, (..., d) -> (...).

        W2**2 = sum_i (S_i - a_i)**2

    [OM] eq. 19. It holds because merged operators and surrogates are never negative.
    """
    distance: Array = np.square(surrogate - operator).sum(axis=-1)
    return distance


def w2_rounding(w2: float, surrogate: Array) -> float:
    """Largest error of ``w2`` that the rounding of the operators can cause.

    An error e of the operator changes W2**2 by at most 2 <S - a, e> + |e|**2.
    """
    error = OPERATOR_ROUNDING * float(np.linalg.norm(surrogate))
    return 2.0 * float(np.sqrt(w2)) * error + error**2


def tied_with_lowest(
    errors: Mapping[str, float], width: int, rounding: float = OPERATOR_ROUNDING
) -> tuple[str, ...]:
    """The names whose W2**2 exceeds the lowest by no more than rounding explains.

    The rounding e of d operators near 1 moves W2**2 by at most 2 W2 |e| + |e|**2.

    Args:
        errors: Name -> W2**2, of one problem.
        width: d.
        rounding: Of one operator, relative.
    """
    least = min(errors.values())
    error = rounding * width**0.5
    slack = 2.0 * least**0.5 * error + error**2
    return tuple(name for name, found in errors.items() if found <= least + slack)
