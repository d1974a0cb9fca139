"""The baseline: Algorithm 1 per coordinate in NumPy, vectorised over splits and coordinates."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_choices(
    operators: Array, shrinkage: Array, direction: Array
) -> tuple[NDArray[np.int32], Array]:
    """Chosen candidate of every block [a..b]: 0 the direct merge, k the split m = a + k - 1.

    Returns:
        The choices, (T, T, d), indexed [a - 1, b - 1], and the values of the whole, (d,).
    """
    num_steps, width = operators.shape
    values = np.empty((num_steps, num_steps, width))
    values[np.arange(num_steps), np.arange(num_steps)] = operators
    products = operators.copy()  # row a: the product of the block that starts there
    choices = np.zeros((num_steps, num_steps, width), dtype=np.int32)
    for length in range(2, num_steps + 1):
        for a in range(num_steps - length + 1):
            b = a + length - 1
            g = shrinkage[b]
            products[a] = products[a] * operators[b]
            direct = (1.0 - g) * products[a] + g * operators[b]
            splits = values[a + 1 : b + 1, b] * ((1.0 - g) * values[a, a:b] + g)
            candidates = np.concatenate([direct[None], splits])  # (length, d)
            chosen = np.argmax(direction * candidates, axis=0)
            choices[a, b] = chosen
            values[a, b] = np.take_along_axis(candidates, chosen[None], axis=0)[0]
    return choices, values[0, -1]
