"""The four canonical strategies of [OM], as plans over T teacher steps."""

from collections.abc import Callable

from planner.plan import Plan, merge, step


def vanilla(num_steps: int) -> Plan:
    """One student learns all T steps at once."""
    if num_steps == 1:
        return step(1)
    return merge(*(step(t) for t in range(num_steps, 0, -1)))


def progressive(num_steps: int) -> Plan:
    """Rounds that merge neighbouring pairs; an odd block is carried to the next round.

    [OM] takes T to be a power of two, where no block is ever odd.
    """
    blocks = [step(t) for t in range(1, num_steps + 1)]
    while len(blocks) > 1:
        odd = blocks[len(blocks) // 2 * 2 :]
        pairs = zip(blocks[0::2], blocks[1::2], strict=False)
        blocks = [merge(noisier, cleaner) for cleaner, noisier in pairs] + odd
    return blocks[0]


def sequential_boot(num_steps: int) -> Plan:
    """Start at T and absorb T-1, then T-2, ...: every merge starts from pure noise."""
    plan = step(num_steps)
    for t in range(num_steps - 1, 0, -1):
        plan = merge(plan, step(t))
    return plan


def sequential_consistency(num_steps: int) -> Plan:
    """Start at 1 and extend to 2, then 3, ...: every merge ends at clean data."""
    plan = step(1)
    for t in range(2, num_steps + 1):
        plan = merge(step(t), plan)
    return plan


CANONICAL: dict[str, Callable[[int], Plan]] = {
    "vanilla": vanilla,
    "progressive": progressive,
    "sequential_consistency": sequential_consistency,
    "sequential_boot": sequential_boot,
}
