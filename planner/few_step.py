"""Students of several steps: the teacher's steps in equal shares, and one plan per share."""

from collections.abc import Callable

from planner.plan import Plan, Plans, from_outline, outline


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
