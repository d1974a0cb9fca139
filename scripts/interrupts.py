"""Ctrl-C ends a command with one line, whenever it comes.

A command imports for seconds before ``scripts.cli.main`` can handle an interruption, and C
extensions abort when one comes during their import. So until a command begins, Ctrl-C ends the
process at once. Later, where Python cannot raise the interruption (in a destructor), Python would
print a traceback and go on; there the interruption is sent again.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

INTERRUPTIONS: list[int] = []  # signals received
_SOON = 0.05  # seconds, long enough for a destructor to end
_show_ignored = sys.unraisablehook


def begin() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt and is noted in ``INTERRUPTIONS``."""
    INTERRUPTIONS.clear()
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _interrupt)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted before it began\n")
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    INTERRUPTIONS.append(number)
    if _imports(frame):  # a C extension would abort
        os.write(2, b"interrupted; the same command resumes the run\n")
        os._exit(130)
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported where the interruption comes."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        main = threading.main_thread().ident  # its sleep or read has to end
        threading.Timer(_SOON, signal.pthread_kill, [main, signal.SIGINT]).start()
    elif not INTERRUPTIONS:  # after an interruption, half-made objects of libraries complain here
        _show_ignored(ignored)


sys.unraisablehook = _interrupt_again
# In the background of a shell SIGINT is ignored, and stays ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
