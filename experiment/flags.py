"""Checks of config fields. Their errors name the field as the flag that the user typed."""

from collections.abc import Iterator, Sequence
from typing import Any

MOST_STEPS = 10**12  # gradient steps per merge, so that the steps of all merges fit in 64 bits
SEEDS = range(2**32)  # the range of NumPy; seeds derived from these stay below 2**63


def flag(name: str) -> str:
    """How a config's field is spelt on the command line."""
    return "--" + name.replace("_", "-")


def refuse_not_positive(config: object, *names: str) -> None:
    """Refuse fields that are not finite and above 0. None (not given) is allowed."""
    for name, value in _given(config, names):
        if not 0 < value < float("inf"):
            raise ValueError(f"{flag(name)} must be positive, got {value}")


def refuse_below(config: object, least: int, *names: str) -> None:
    """Refuse fields below ``least``, or tuples with such an element. None is allowed."""
    for name, number in _given(config, names):
        if not number >= least:
            raise ValueError(f"{flag(name)} must be at least {least}, got {number}")


def refuse_above(config: object, most: int, *names: str) -> None:
    """Refuse fields above ``most``, or tuples with such an element. None is allowed."""
    for name, number in _given(config, names):
        if not number <= most:
            raise ValueError(f"{flag(name)} must be at most {most}, got {number}")


def refuse_bad_seeds(config: object, *names: str) -> None:
    """Refuse fields, or elements of tuples, that are no seeds of a noise bank or generator.

    None is allowed.
    """
    for name, seed in _given(config, names):
        if seed not in SEEDS:
            raise ValueError(f"{flag(name)} must be from 0 to {SEEDS.stop - 1}, got {seed}")


def _given(config: object, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The name of each field with its value, or with every element of its tuple, if not None."""
    for name in names:
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                yield name, one


def refuse_repeats(config: object, *names: str) -> None:
    """Refuse tuples that are empty or contain a value twice."""
    for name in names:
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            given = " ".join(map(str, values or ["none"]))
            raise ValueError(f"{flag(name)} must be one or more different values, got {given}")
