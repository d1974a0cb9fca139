"""What a command prints: to any terminal, and to readers that leave early."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PIPE_CLOSED = 141  # the status of a program that SIGPIPE ends, as other tools have it
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextmanager
def printing() -> Iterator[None]:
    """Let the block print any character, and end the process quietly if the reader has left.

    A character that the terminal's encoding lacks is printed as a question mark. Files do not
    depend on this: they are always UTF-8.

    Raises:
        OSError: what was printed cannot be written, for example to a full disk.
        SystemExit: with status 141, if a reader such as ``head`` has closed the pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # closed from the start
                sys.stdout.flush()
    except OSError as error:
        # An error of a file that a command writes has the name of the file.
        if error.filename is not None or error.errno not in (errno.EPIPE, *_NO_ROOM):
            raise
        _discard_the_rest()
        if error.errno == errno.EPIPE:
            raise SystemExit(_PIPE_CLOSED) from None
        raise OSError(
            f"standard output: cannot be written ({error.strerror}); free some space, or print "
            "elsewhere"
        ) from error


def _discard_the_rest() -> None:
    """Python flushes its output once more at its end, and would complain again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
