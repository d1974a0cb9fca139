"""Progress bars, which one switch turns off for a whole call from Python."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm as _tqdm

_SHOWN = ContextVar("bars are shown", default=True)


class tqdm(_tqdm):  # type: ignore[misc]  # it has no types
    """tqdm's bar, not drawn within ``bars_shown(False)``."""

    def __init__(self, *args: object, disable: bool | None = False, **options: object) -> None:
        super().__init__(*args, disable=disable if _SHOWN.get() else True, **options)


@contextmanager
def bars_shown(shown: bool) -> Iterator[None]:
    """Draw the progress bars that begin in this block, or none. Elsewhere bars are drawn."""
    token = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(token)
