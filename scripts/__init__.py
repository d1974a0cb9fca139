"""The commands. The one package that does something when it is imported: hush Ctrl-C.

A command imports for seconds before ``scripts.cli.main`` is there to take an interruption.
"""

import sys
from types import TracebackType

_shown = sys.excepthook


def _hush(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted before it began", file=sys.stderr)
    else:
        _shown(kind, error, trace)


sys.excepthook = _hush
