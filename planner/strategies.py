"""The four canonical strategies of [OM], as plans over T teacher steps.

A student of K > 1 steps shares the teacher's steps equally, and has one plan per share.
"""

from collections.abc import Callable

from planner.plan import Plan, Plans, from_outline, merge, outline, step


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


def equal_shares(num_steps: int, student_steps: int) -> list[tuple[int, int]]:
    """(start, stop) of the jump of every step of the student, noisiest first.

    Where T is no multiple of K, the cleaner steps of the student cover one teacher step more.

    Args:
        num_steps: T, the steps of the teacher.
        student_steps: K, the steps of the student.

    Raises:
        ValueError: K is not in 1..T.
    """
    if not 1 <= student_steps <= num_steps:
        raise ValueError(
            f"a student of {student_steps} steps cannot learn from a teacher of {num_steps}; give "
            "from 1 step to as many as the teacher's"
        )
    least, more = divmod(num_steps, student_steps)
    sizes = [least + (number < more) for number in range(student_steps)]
    shares, stop = [], 0
    for size in sizes:
        shares.append((stop + size, stop))
        stop += size
    return shares[::-1]


def plans_by_share(make: Callable[[int], Plan], num_steps: int, student_steps: int) -> Plans:
    """One plan per step of the student, noisiest first, all by the same strategy.

    Args:
        make: A strategy: number of teacher steps -> its plan over them.

    Raises:
        ValueError: ``student_steps`` is not in 1..T.
    """
    shares = equal_shares(num_steps, student_steps)
    return tuple(shifted(make(start - stop), stop) for start, stop in shares)


def shifted(plan: Plan, by: int) -> Plan:
    """The same plan over teacher steps that are ``by`` noisier."""
    return from_outline(plan.start + by, [[t + by for t in ends] for ends in outline(plan)])
