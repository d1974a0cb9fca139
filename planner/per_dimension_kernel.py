"""The scalar dynamic program, compiled: one T x T table a coordinate, coordinates in parallel.

For one coordinate a larger value of every block is better, or a smaller one (``towards``), so the
program is a matrix product with max in place of sum. With D the best value of a block and L the
best left factor, in closed intervals of steps:

    D[a, b] = best of   A_b ((1 - g_b) prod_{t=a..b-1} A_t + g_b)            direct
                        D[m+1, b] ((1 - g_b) L[a, m] + g_b),  m = a..b-1     split m

L is D for the plans of [OM] Algorithm 1. With n-ary merges of merged blocks L is the best product
of neighbouring blocks, Q[a, b] = best(D[a, b], best over m of Q[a, m] D[m+1, b]).

The table holds L[a, b] above its diagonal and D[a, b] below it, at [b, a]. The innermost loop so
reads two contiguous rows. No back-pointers are kept: the few that a plan needs are found again.
"""

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[np.float64]
Share = tuple[float, float]  # what a merge keeps of its start, and what it learns

# What LLVM may take for granted. No value is NaN; sums may be rounded in another order. Infinities
# stay legal (no "ninf"), because a search starts from -inf, and the flag would gain no time.
FAST = {"nnan", "nsz", "contract", "reassoc"}
DIRECT = -1  # in the place of a cut m: the steps, or the single block, as they are


@intrinsic
def _larger(typing_context, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba's protocol
    # Python's max compiles to a compare and a select, which LLVM does not turn into SIMD lanes.
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        double = ir.DoubleType()
        larger = builder.module.declare_intrinsic(
            "llvm.maxnum", [double], ir.FunctionType(double, [double, double])
        )
        return builder.call(larger, arguments, fastmath=sorted(FAST))

    return types.float64(types.float64, types.float64), generate


@njit(cache=True, fastmath=FAST)
def _best_merges(
    right_b: Array, right_c: Array, left: Array, share_b: Share, share_c: Share
) -> tuple[float, float]:
    """Best splits of two neighbouring blocks [a..b] and [a..c], which share their left factors."""
    best_b = best_c = -np.inf
    undone_b, learnt_b = share_b
    undone_c, learnt_c = share_c
    for m in range(len(left)):
        best_b = _larger(best_b, right_b[m] * (undone_b + learnt_b * left[m]))
        best_c = _larger(best_c, right_c[m] * (undone_c + learnt_c * left[m]))
    return best_b, best_c


@njit(cache=True, fastmath=FAST)
def fill_table(
    table: Array, operators: Array, shrinkage: Array, direction: float, nary: bool
) -> None:
    """Write D and L of every block into ``table``, (T, T), in place.

    Blocks that end at b and at c = b + 1 are filled together, to read each left factor once.
    Values are compared times ``towards``.
    """
    num_steps = len(operators)
    for t in range(num_steps):
        table[t, t] = operators[t]
    plain = (0.0, direction)
    for c in range(1 + num_steps % 2, num_steps, 2):  # an odd T leaves [1..1] for itself
        b = c - 1
        share_b = (direction * shrinkage[b], direction * (1.0 - shrinkage[b]))
        share_c = (direction * shrinkage[c], direction * (1.0 - shrinkage[c]))
        value = operators[c] * (share_c[0] + share_c[1] * operators[b])
        table[c, b] = direction * value
        if nary:
            value = _larger(value, direction * operators[c] * operators[b])
        table[b, c] = direction * value
        product = 1.0
        for a in range(b - 1, -1, -1):
            product *= operators[a]
            value_b = operators[b] * (share_b[0] + share_b[1] * product)
            value_c = operators[c] * (share_c[0] + share_c[1] * product * operators[b])
            # Rows are cut in the call: a name for one would cost a reference count, which short
            # rows feel.
            split_b, split_c = _best_merges(
                table[b, a + 1 : c], table[c, a + 1 : c], table[a, a:b], share_b, share_c
            )
            if b - a > 1:  # the split of two steps is their direct merge
                value_b = _larger(value_b, split_b)
            value_c = _larger(value_c, split_c)
            table[b, a] = direction * value_b
            if nary:
                factor_b, factor_c = _best_merges(
                    table[b, a + 1 : c], table[c, a + 1 : c], table[a, a:b], plain, plain
                )
                value_b = _larger(value_b, factor_b)
            table[a, b] = direction * value_b
            # The one split of [a..c] that the shared rows leave out: m = b.
            value_c = _larger(value_c, operators[c] * (share_c[0] + share_c[1] * table[a, b]))
            table[c, a] = direction * value_c
            if nary:
                value_c = _larger(value_c, factor_c)
                value_c = _larger(value_c, direction * operators[c] * table[a, b])
            table[a, c] = direction * value_c


@njit(cache=True)
def _best_cut(right: Array, left: Array, undone: float, learnt: float, beat: float) -> int:
    """Place of the first largest candidate above ``beat``, or DIRECT."""
    place = DIRECT
    for m in range(len(left)):
        value = right[m] * (undone + learnt * left[m])
        if value > beat:
            beat, place = value, m
    return place


@njit(cache=True)
def _split_into_blocks(
    table: Array, direction: float, num_blocks: int, ends: NDArray[np.int32]
) -> float:
    """Best product of ``num_blocks`` blocks that tile all steps; writes the block ends, from 0.

    F[k, b] = best over m of F[k-1, m] D[m+1, b],  F[1, b] = D[1, b]
    """
    num_steps = len(table)
    best = np.empty((num_blocks, num_steps))
    cuts = np.zeros((num_blocks, num_steps), np.int32)
    best[0] = table[:, 0]
    for k in range(1, num_blocks):
        for b in range(k, num_steps):
            value = -np.inf
            for m in range(k - 1, b):
                candidate = direction * best[k - 1, m] * table[b, m + 1]
                if candidate > value:
                    value, cuts[k, b] = candidate, m
            best[k, b] = direction * value
    ends[num_blocks - 1] = num_steps - 1
    for k in range(num_blocks - 1, 0, -1):
        ends[k - 1] = cuts[k, ends[k]]
    return float(best[num_blocks - 1, num_steps - 1])


@njit(cache=True)
def _recover(
    table: Array,
    operators: Array,
    shrinkage: Array,
    direction: float,
    nary: bool,
    ends: NDArray[np.int32],
    record: NDArray[np.int32],
) -> None:
    """Write the plan's nodes, wholes before parts: rows (a, b, cut, is_product), counted from 0.

    A merge is cut in its left factor and its right part; a product, which n-ary plans have for a
    left factor, in the product on its left and the block on its right. Unused rows keep a = -1.
    """
    stack = np.empty((len(record) + 1, 3), np.int32)
    depth = len(ends)
    for k in range(depth):
        stack[k, 0], stack[k, 1], stack[k, 2] = ends[k - 1] + 1 if k else 0, ends[k], 0
    row = 0
    while depth:
        depth -= 1
        a, b, is_product = stack[depth]
        if a == b:
            continue
        right, left = table[b, a + 1 : b + 1], table[a, a:b]
        if is_product:
            cut = _best_cut(right, left, 0.0, direction, direction * table[b, a])
        else:
            undone, learnt = direction * shrinkage[b], direction * (1.0 - shrinkage[b])
            product = 1.0
            for t in range(b - 1, a - 1, -1):
                product *= operators[t]
            direct = operators[b] * (undone + learnt * product)
            cut = DIRECT
            if b - a > 1:
                cut = _best_cut(right, left, undone, learnt, direct)
        record[row, 0], record[row, 1], record[row, 2] = a, b, cut
        record[row, 3] = is_product
        row += 1
        if cut != DIRECT:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = a, a + cut, nary
            stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2] = a + cut + 1, b, 0
            depth += 2
        elif is_product:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = a, b, 0
            depth += 1


@njit(cache=True, parallel=True)
def solve(
    operators: Array,
    shrinkage: Array,
    direction: Array,
    nary: bool,
    num_blocks: int,
    records: NDArray[np.int32],
    ends: NDArray[np.int32],
    num_workers: int,
) -> Array:
    """Best values of all coordinates, (d,); see ``planner.per_dimension`` for a friendlier face.

    Args:
        operators, shrinkage: (d, T), a row a coordinate.
        records: (d, rows, 4) for the plans, or (0, 0, 4) to find values only; in place.
        ends: (d, num_blocks), the last step of each block, from 0; in place.
    """
    width, num_steps = operators.shape
    values = np.empty(width)
    for worker in prange(num_workers):
        table = np.empty((num_steps, num_steps))
        for i in range(worker, width, num_workers):
            fill_table(table, operators[i], shrinkage[i], direction[i], nary)
            values[i] = _split_into_blocks(table, direction[i], num_blocks, ends[i])
            if len(records):
                _recover(table, operators[i], shrinkage[i], direction[i], nary, ends[i], records[i])
    return values
