"""The dynamic program of one coordinate, compiled; coordinates are solved in parallel.

For one coordinate either a larger value is better for every block, or a smaller one
(``direction``). So the program is a matrix product with max in place of the sum. Let D be the best
value of a block and L the best left factor, in closed intervals of steps:

    D[a, b] = best of   A_b ((1 - g_b) prod_{t=a..b-1} A_t + g_b)            direct
                        D[m+1, b] ((1 - g_b) L[a, m] + g_b),  m = a..b-1     split m

L is D for the plans of [OM] Algorithm 1. With n-ary merges of merged blocks, L is the best product
of neighbouring blocks, Q[a, b] = best(D[a, b], best over m of Q[a, m] D[m+1, b]).

The (T, T) table of a coordinate holds L[a, b] above its diagonal and D[a, b] below it, at [b, a],
so that the innermost loop reads two contiguous rows. It keeps no back-pointers: ``_recover`` finds
the few that a plan needs again.
"""

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from planner.compiled import IS_COMPILED, compiled

Array = NDArray[np.float64]
Share = tuple[float, float]
"""(g, 1 - g): the weight of a merge's start and that of its target."""

# What LLVM may take for granted. No value is NaN; sums may be rounded in another order. Infinities
# stay legal (no "ninf"), because a search starts from -inf, and the flag would gain no time.
FAST = {"nnan", "nsz", "contract", "reassoc"}
DIRECT = -1
"""Stands for a cut where there is none: a direct merge of steps, or a product of one block."""


@intrinsic
def larger(typing_context, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    # Python's max compiles to a compare and a select, which LLVM does not turn into SIMD lanes.
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        double = ir.DoubleType()
        larger = builder.module.declare_intrinsic(
            "llvm.maxnum", [double], ir.FunctionType(double, [double, double])
        )
        return builder.call(larger, arguments, fastmath=sorted(FAST))

    return types.float64(types.float64, types.float64), generate


if not IS_COMPILED:
    larger = max


@compiled(fastmath=FAST)
def _best_merges(
    right_b: Array, right_c: Array, left: Array, share_b: Share, share_c: Share
) -> tuple[float, float]:
    """Best splits of the blocks [a..b] and [a..c], which share their left factors.

    Args:
        right_b, right_c: D[m+1, b] and D[m+1, c] for each cut m.
        left: L[a, m] for each cut m.
    """
    best_b = best_c = -np.inf
    undone_b, learnt_b = share_b
    undone_c, learnt_c = share_c
    for m in range(len(left)):
        best_b = larger(best_b, right_b[m] * (undone_b + learnt_b * left[m]))
        best_c = larger(best_c, right_c[m] * (undone_c + learnt_c * left[m]))
    return best_b, best_c


@compiled(fastmath=FAST)
def fill_table(
    table: Array, operators: Array, shrinkage: Array, direction: float, nary: bool
) -> None:
    """Write D and L of every block into ``table``, (T, T), in place.

    Blocks that end at b and at c = b + 1 are filled together, to read each left factor once.
    Values are multiplied by ``direction`` before they are compared.
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
            value = larger(value, direction * operators[c] * operators[b])
        table[b, c] = direction * value
        product = 1.0
        for a in range(b - 1, -1, -1):
            product *= operators[a]
            value_b = operators[b] * (share_b[0] + share_b[1] * product)
            value_c = operators[c] * (share_c[0] + share_c[1] * product * operators[b])
            # The rows are sliced inside the call: naming them would cost reference counts, which
            # take time when rows are short.
            split_b, split_c = _best_merges(
                table[b, a + 1 : c], table[c, a + 1 : c], table[a, a:b], share_b, share_c
            )
            if b - a > 1:  # the split of two steps is their direct merge
                value_b = larger(value_b, split_b)
            value_c = larger(value_c, split_c)
            table[b, a] = direction * value_b
            if nary:
                factor_b, factor_c = _best_merges(
                    table[b, a + 1 : c], table[c, a + 1 : c], table[a, a:b], plain, plain
                )
                value_b = larger(value_b, factor_b)
            table[a, b] = direction * value_b
            # The shared rows leave out one split of [a..c]: m = b.
            value_c = larger(value_c, operators[c] * (share_c[0] + share_c[1] * table[a, b]))
            table[c, a] = direction * value_c
            if nary:
                value_c = larger(value_c, factor_c)
                value_c = larger(value_c, direction * operators[c] * table[a, b])
            table[a, c] = direction * value_c


@compiled()
def _best_cut(right: Array, left: Array, undone: float, learnt: float, beat: float) -> int:
    """Index of the first largest candidate if it is above ``beat``, else DIRECT."""
    place = DIRECT
    for m in range(len(left)):
        value = right[m] * (undone + learnt * left[m])
        if value > beat:
            beat, place = value, m
    return place


@compiled()
def _split_into_blocks(
    table: Array, direction: float, num_blocks: int, ends: NDArray[np.int32]
) -> float:
    """Best product of ``num_blocks`` blocks that tile all steps.

        F[k, b] = best over m of F[k-1, m] D[m+1, b],  F[1, b] = D[1, b]

    Args:
        ends: The last step of each block, counted from 0, (num_blocks,); written in place.
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


@compiled()
def _recover(
    table: Array,
    operators: Array,
    shrinkage: Array,
    direction: float,
    nary: bool,
    ends: NDArray[np.int32],
    record: NDArray[np.int32],
) -> None:
    """Write the plan's nodes into ``record``, wholes before parts, in place.

    A node is a row (a, b, cut, is_product), counted from 0. A merge is cut into its left factor and
    its right part. A product, which n-ary plans have as a left factor, is cut into the product on
    its left and the block on its right. Unused rows keep a = -1.
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


@compiled(parallel=True)
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
    """Best values of all coordinates, (d,); ``planner.per_dimension`` wraps this function.

    Args:
        operators, shrinkage: A_t and g_t, (d, T).
        direction: -1 where a smaller value is better, else +1, (d,).
        nary: Also try merges of more than two merged blocks.
        num_blocks: K, the number of operators that the student keeps.
        records: The plans' nodes, (d, rows, 4), written in place; (0, 0, 4) to find values only.
        ends: The last step of each block, counted from 0, (d, num_blocks); written in place.
        num_workers: Number of tables that are filled at the same time.
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
