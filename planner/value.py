"""What a plan is worth: the student operator that it ends with, in closed form."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.plan import Plan, merges

Array = NDArray[np.float64]

OPERATOR_ROUNDING = 1e-13  # relative


def plan_operator(plan: Plan, operators: Array, shrinkage: Array) -> Array:
    """Operator of the student that ``plan`` leaves for its whole jump.

        value = (1 - g_b) prod(parts) + g_b (noisiest part),  b = start of the merge

    [OM] eq. 16: gradient flow leads from the noisiest part's operator towards the product of all
    parts, and leaves the share g_b, the shrinkage, of the way undone.

    Args:
        operators: Teacher steps A_t, (T, d); row t - 1 belongs to t.
        shrinkage: g_t, (T, ..., d); axes in between, such as trials, are kept.

    Returns:
        The operator, (..., d).
    """
    return merged_operator(plan, operators, lambda jump: shrinkage[jump.start - 1])


def merged_operator(
    plan: Plan, operators: Array, shrinkage_of: Callable[[Plan], Array | float]
) -> Array:
    """``plan_operator`` where every merge has its own shrinkage, even at the same start.

    Args:
        shrinkage_of: merge -> what it leaves of its start, (..., d); asked once a merge.
    """
    values: dict[tuple[int, int], Array] = {}

    def value_of(part: Plan) -> Array:
        # A part belongs to one whole only, so its value is taken out for good.
        return values.pop((part.start, part.stop)) if part.parts else operators[part.start - 1]

    for jump in merges(plan):
        parts = [value_of(part) for part in jump.parts]
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        g = shrinkage_of(jump)
        values[jump.start, jump.stop] = (1.0 - g) * product + g * parts[0]
    return value_of(plan)


def product_operator(blocks: Sequence[Plan], operators: Array, shrinkage: Array) -> Array:
    """Operator of a student of several steps, one plan a step, (..., d); arguments as above."""
    product = np.ones(shrinkage.shape[1:])
    for plan in blocks:
        product = product * plan_operator(plan, operators, shrinkage)
    return product


def per_dimension_operator(plans: Sequence[Plan], operators: Array, shrinkage: Array) -> Array:
    """Operator of students under one plan a coordinate, (..., d); arguments as above.

    Coordinates that share a plan object are valued together.
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

    [OM] eq. 19; merged operators and surrogates are never negative.
    """
    distance: Array = np.square(surrogate - operator).sum(axis=-1)
    return distance


def w2_rounding(w2: float, surrogate: Array) -> float:
    """How far W2**2 may be off for the rounding of the operators.

    Errors e of the operator change W2**2 by 2 <S - a, e> + |e|**2 at most.
    """
    error = OPERATOR_ROUNDING * float(np.linalg.norm(surrogate))
    return 2.0 * float(np.sqrt(w2)) * error + error**2
