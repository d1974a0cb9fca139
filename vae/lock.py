"""One process at a time in a folder, as the operating system keeps it: a crash leaves no lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made where it is missing, until the block ends.

    Where nothing was made of it, it is removed again.

    Raises:
        ValueError: another process holds it, or it is a file.
        OSError: it cannot be made or written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except FileExistsError as error:
        raise ValueError(f"{error.filename}: is a file, not a folder; give another one") from error
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written ({error.strerror}); give a folder of your own, on a "
            "disk with room"
        ) from error
    with file:
        try:
            # Of the process, not of the open file, so it holds on network file systems too.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{folder}: another run is at work in it; wait for its end, or give another folder"
            ) from error
        try:
            yield
        finally:
            if made and not any(path.name != LOCK for path in folder.iterdir()):
                (folder / LOCK).unlink()
                with suppress(OSError):  # another command may work beside it by now
                    for path in made:
                        path.rmdir()
