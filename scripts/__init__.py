"""The commands. The one package that does something when it is imported: see to Ctrl-C.

A command imports for seconds before ``scripts.cli.main`` is there to take an interruption. One that
falls into the import of a C extension comes out as an ImportError, so that it came is noted. And
where Python cannot raise one, in a destructor, it would print a traceback and go on.
"""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import NoReturn

INTERRUPTIONS: list[int] = []  # signals that came
_SOON = 0.05  # seconds; long enough for a destructor to end
_show, _show_ignored = sys.excepthook, sys.unraisablehook


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    INTERRUPTIONS.append(number)
    raise KeyboardInterrupt


def _hush(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if INTERRUPTIONS or issubclass(kind, KeyboardInterrupt):
        print("interrupted before it began", file=sys.stderr)
    else:
        _show(kind, error, trace)


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        main = threading.main_thread().ident  # the one whose sleep or read it has to end
        threading.Timer(_SOON, signal.pthread_kill, [main, signal.SIGINT]).start()
    elif not INTERRUPTIONS:  # else half-made objects of libraries complain as they go
        _show_ignored(ignored)


sys.excepthook, sys.unraisablehook = _hush, _interrupt_again
# In the background of a shell it is ignored, and stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupt)
