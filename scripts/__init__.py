"""The commands. The one package that does something when it is imported: see to Ctrl-C.

A command imports for seconds before ``scripts.cli.main`` is there to take an interruption, and C
extensions abort on one that falls into their import: until then it ends the process at once. And
where Python cannot raise one, in a destructor, it would print a traceback and go on.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

INTERRUPTIONS: list[int] = []  # signals that came
_SOON = 0.05  # seconds; long enough for a destructor to end
_show_ignored = sys.unraisablehook


def begin() -> None:
    """From now on raise KeyboardInterrupt on Ctrl-C, and note that it came."""
    INTERRUPTIONS.clear()
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _interrupt)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted before it began\n")
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    INTERRUPTIONS.append(number)
    raise KeyboardInterrupt


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        main = threading.main_thread().ident  # the one whose sleep or read it has to end
        threading.Timer(_SOON, signal.pthread_kill, [main, signal.SIGINT]).start()
    elif not INTERRUPTIONS:  # else half-made objects of libraries complain as they go
        _show_ignored(ignored)


sys.unraisablehook = _interrupt_again
# In the background of a shell it is ignored, and stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
