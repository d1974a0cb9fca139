"""Numba's compiler, also where its cache cannot be written and where it is switched off."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import config, njit

Function = TypeVar("Function", bound=Callable[..., object])
IS_COMPILED = not config.DISABLE_JIT
"""False under ``NUMBA_DISABLE_JIT=1``, for debuggers: everything runs in Python, slowly."""


def compiled(
    fastmath: set[str] | None = None, parallel: bool = False
) -> Callable[[Function], Function]:
    """``numba.njit`` with a cache on disk if a folder for it can be written, else in memory."""

    def compile_function(function: Function) -> Function:
        options = {"fastmath": fastmath or False, "parallel": parallel}
        try:
            return cast(Function, njit(cache=True, **options)(function))
        except RuntimeError:  # neither the code's folder nor a user's cache can be written
            return cast(Function, njit(**options)(function))

    return compile_function
