"""Where caches lie, also where no home folder can be written, as in containers.

Only the standard library is imported: every command reads this before anything else.
"""

import os
import pwd
import stat
import tempfile
from multiprocessing import get_context
from pathlib import Path

# Environment variables by which libraries are told their folders -> name of the folder.
_LIBRARIES = {
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
}


def writable_home() -> Path | None:
    """The home folder, if there is one and a cache can be made in it."""
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know the user
        return None
    cache = home / ".cache"
    return home if os.access(cache if cache.exists() else home, os.W_OK | os.X_OK) else None


def cache_root() -> Path:
    """The folder of all caches: ``$XDG_CACHE_HOME``, ``~/.cache``, or a temporary folder."""
    told = _told()
    if told is not None and _can_be_made(told):
        return told
    home = None if told else writable_home()
    return _temporary() if home is None else home / ".cache"


def _told() -> Path | None:
    told = os.environ.get("XDG_CACHE_HOME")
    return Path(told) if told else None


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder of this user below the system's folder for temporary files; not made yet."""
    root = Path(tempfile.gettempdir()) / f"mergelab-{os.getuid()}"
    try:
        status = root.lstat()
    except OSError:
        return root
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    # Another user may have made the folder to plant files there.
    return root if ours else Path(tempfile.mkdtemp(prefix="mergelab-"))


def fall_back() -> str:
    """Tell libraries to keep their caches in a temporary folder where there is no other place.

    Also gives the user a name where the system does not know the user, because PyTorch asks for it.

    Returns:
        A line that says so; empty where nothing had to be changed.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"uid{os.getuid()}")
    told = _told()
    if writable_home() is not None if told is None else _can_be_made(told):
        return ""
    root = cache_root()
    for variable, name in _LIBRARIES.items():
        if variable not in os.environ:
            folder = root / name
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError:  # then the library says what it lacks, if it needs it
                continue
            os.environ[variable] = str(folder)
    lacking = "no home folder can be written" if told is None else f"{told} cannot be written"
    return f"{lacking}, so caches are in {root}; set HOME or XDG_CACHE_HOME to keep them"


def can_start_processes() -> bool:
    """Whether pools of processes can be made: they need semaphores, which lie in /dev/shm."""
    try:
        get_context("spawn").Lock()
    except (OSError, ImportError):
        return False
    return True
