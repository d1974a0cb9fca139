"""Which of many values no other dominates, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from planner.fronts import Block, Keep, Rows

Array = NDArray[np.float64]


def undominated(towards: Array) -> Keep:
    """Keep every candidate that no other matches or betters in all coordinates.

    Of equal candidates the first stays. ``towards`` is -1 where smaller is better, else +1, (d,).
    """

    def keep(block: Block, candidates: Array) -> Rows:
        gains = candidates * towards
        # Best first in coordinate 0, then 1, ...: whoever dominates a row stands before it.
        order = np.lexsort(-gains.T[::-1])
        ordered = np.ascontiguousarray(gains[order])
        stays = _staircase(ordered) if ordered.shape[1] <= 2 else _undominated(ordered)
        return np.sort(order[stays])

    return keep


@njit(cache=True)
def _staircase(gains: Array) -> NDArray[np.bool_]:
    """For one or two sorted coordinates: rows whose last coordinate is a new best."""
    stays = np.zeros(len(gains), np.bool_)
    best = -np.inf
    for row in range(len(gains)):
        if gains[row, -1] > best:
            best = gains[row, -1]
            stays[row] = True
    return stays


@njit(cache=True)
def _undominated(gains: Array) -> NDArray[np.bool_]:
    """For sorted rows of any width: compare each with those kept so far."""
    stays = np.zeros(len(gains), np.bool_)
    kept = np.empty(len(gains), np.intp)
    count = 0
    for row in range(len(gains)):
        dominated = False
        for place in range(count):
            better = True
            for i in range(1, gains.shape[1]):
                if gains[kept[place], i] < gains[row, i]:
                    better = False
                    break
            if better:
                dominated = True
                # Rows near each other share their dominators: let them be found sooner.
                kept[place], kept[place // 2] = kept[place // 2], kept[place]
                break
        if not dominated:
            stays[row] = True
            kept[count] = row
            count += 1
    return stays
