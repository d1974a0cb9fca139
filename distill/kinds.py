"""What the per-dimension plan is for each coordinate: a canonical strategy, or a hybrid."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distill.students import Students
from planner.strategies import CANONICAL
from planner.value import OPERATOR_ROUNDING

HYBRID, TIE = "hybrid", "tie"


def plan_kinds(of_stage: Mapping[str, Students]) -> NDArray[np.str_]:
    """The canonical strategy that is worth as much as each coordinate's own plan, (d,).

    By worth, not by shape, since plans of unlike shape may be equal: ``tie`` where several are,
    within rounding; ``hybrid`` where the own plan is worth more than each.

    Args:
        of_stage: Strategy -> students of one stage and budget, among them ``per_dimension``.
    """
    own = of_stage["per_dimension"].predicted
    scale = np.maximum(np.abs(own), np.finfo(float).tiny)
    names = [name for name in CANONICAL if name in of_stage]
    matches = np.stack(
        [np.abs(of_stage[name].predicted - own) <= OPERATOR_ROUNDING * scale for name in names]
    )
    count = matches.sum(axis=0)
    single = np.array(names)[matches.argmax(axis=0)]
    return np.where(count == 0, HYBRID, np.where(count > 1, TIE, single))
