"""The decoded data set: every image cropped and resized once, kept as uint8 on disk."""

import fcntl
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from multiprocessing import current_process, get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiment.progress import tqdm
from experiment.read import field, integer, read_json, reading, short_repr
from experiment.surroundings import can_start_processes
from experiment.write import write_text
from vae.config import DEFAULT_CACHE
from vae.images import (
    DEFAULT_IMAGE_SIZE,
    SPLITS,
    UNREADABLE,
    ImageSource,
    LeftOut,
    assign_splits,
    crop_to_square,
    find_images,
    printable,
    read_image,
)

ADDED_INPUTS = ("splits",)  # ``ImageSet.inputs`` that earlier versions did not record
MAX_UNREADABLE = 0.01  # share of the images; with more unreadable images the data set is refused
_CHUNK = 64  # images per task of a worker process
_SAVE_EVERY = 512  # images between two writes of the progress file


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A decoded data set, memory-mapped."""

    images: NDArray[np.uint8]  # (N, S, S, 3)
    names: tuple[str, ...]
    splits: NDArray[np.uint8]  # (N,), indices into SPLITS
    fingerprint: str  # SHA-256 of all pixels, in order
    unreadable: int  # number of unreadable images
    unreadable_list: Path  # file that names them, if any
    left_out: tuple[LeftOut, ...]  # other files of the data, by kind

    def describe_left_out(self) -> str:
        """What is not used of the data, as the end of a line; empty if everything is used."""
        parts = [str(kind) for kind in self.left_out]
        if self.unreadable:
            parts.insert(0, f"{self.unreadable} unreadable images, see {self.unreadable_list}")
        return f"; left out: {', '.join(parts)}" if parts else ""

    def inputs(self) -> dict[str, str]:
        """What a run depends on: SHA-256 of the pixels, and of which images are in which split."""
        splits = hashlib.sha256(self.splits.tobytes()).hexdigest()
        return {"data": self.fingerprint, "splits": splits}

    def split(self, name: str) -> NDArray[np.uint8]:
        """The images of one of SPLITS, copied into memory, (n, S, S, 3)."""
        return self.images[self.splits == SPLITS.index(name)]


def load_images(
    data: Path,
    cache: Path = DEFAULT_CACHE,
    image_size: int = DEFAULT_IMAGE_SIZE,
    workers: int | None = None,
) -> ImageSet:
    """Decode the images under ``data`` in parallel processes, or open the cache that holds them.

    The cache is keyed by the fingerprint of the source and the preprocessing, so each image size
    has its own. The same call resumes an interrupted decoding.

    Args:
        workers: Number of processes that decode; None is one per core.

    Raises:
        FileNotFoundError: ``data`` is missing.
        ValueError: there is no image, or more than 1 % of the images cannot be read.
        RuntimeError: a decoding process runs the caller's script again.
    """
    _refuse_own_workers()
    source = find_images(data)
    pixels = cache / f"{source.fingerprint(image_size)[:32]}.u8"
    index = pixels.with_suffix(".json")
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(pixels.with_suffix(".part")) as partial:
            if not index.exists():
                _decode_all(source, partial, pixels, image_size, workers)
    skipped, digest = read_cache_index(index)
    names = tuple(name for name in source.names if name not in skipped)
    shape = (len(names), image_size, image_size, 3)
    with reading(pixels, "all the decoded images", f"remove {index} to decode them again"):
        found = pixels.stat().st_size
        if found != math.prod(shape) or not names:
            raise ValueError(f"{found} bytes, {len(names)} images have {math.prod(shape)}")
        # Copy on write: torch warns about read-only arrays, and the file does not change.
        images = np.memmap(pixels, np.uint8, "c", shape=shape)
    return ImageSet(
        images=images,
        names=names,
        splits=assign_splits(names, source.partition),
        fingerprint=digest,
        unreadable=len(skipped),
        unreadable_list=_unreadable_list(pixels),
        left_out=source.left_out,
    )


def read_cache_index(path: Path) -> tuple[dict[str, str], str]:
    """Unreadable images of a cache, each with the reason, and the SHA-256 of the pixels.

    Raises:
        OSError, ValueError: the index cannot be read, or is damaged.
    """
    with reading(path, "a whole index of decoded images", "remove it to decode them again"):
        facts = read_json(path)
        digest = field(facts, "sha256", str)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"sha256 is {short_repr(digest)}")
        return _unreadable(facts), digest


def read_progress(
    path: Path, partial: BufferedRandom, image_size: int
) -> tuple[int, dict[str, str]]:
    """How many images an interrupted decoding has processed, and the unreadable ones among them.

    Raises:
        OSError, ValueError: the file cannot be read, is damaged, or counts more than was decoded.
    """
    with reading(path, "the progress of a decoding", "remove it to decode from the start"):
        saved = read_json(path)
        done, unreadable = integer(saved, "done"), _unreadable(saved)
        found = os.fstat(partial.fileno()).st_size // (3 * image_size**2)
        if not 0 <= done - len(unreadable) <= found:
            raise ValueError(
                f"{done} images done, {len(unreadable)} of them unreadable, but {found} are decoded"
            )
        return done, unreadable


def _unreadable(facts: object) -> dict[str, str]:
    found = field(facts, "unreadable", dict)
    return {name: field(found, name, str) for name in found}


def _unreadable_list(pixels: Path) -> Path:
    return pixels.with_suffix(".unreadable.txt")


@contextmanager
def _locked(path: Path) -> Iterator[BufferedRandom]:
    """Open for update under an exclusive lock. A second run waits and finds the finished cache."""
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _refuse_own_workers() -> None:
    """Refuse to decode in a worker process that is importing the caller's script.

    Such a worker would wait for itself.

    Raises:
        RuntimeError: this process is such a worker.
    """
    # multiprocessing itself uses this flag for a child that is still importing.
    if getattr(current_process(), "_inheriting", False):
        raise RuntimeError(
            "images are decoded in processes that import the calling script: put its work under "
            'if __name__ == "__main__":'
        )


def _decode_all(
    source: ImageSource, partial: BufferedRandom, pixels: Path, image_size: int, workers: int | None
) -> None:
    """Fill ``partial`` with the images in order. At the end rename it and write the index."""
    progress = pixels.with_suffix(".progress.json")
    done, unreadable = 0, dict[str, str]()
    if progress.exists():
        done, unreadable = read_progress(progress, partial, image_size)
    _refuse_if_broken(source, unreadable, _unreadable_list(pixels))
    # An interrupted run wrote the bytes past the saved progress.
    partial.truncate((done - len(unreadable)) * 3 * image_size**2)

    def save_progress() -> None:
        partial.flush()
        write_text(progress, json.dumps({"done": done, "unreadable": unreadable}))

    workers = min(workers or os.cpu_count() or 1, 1 + len(source.names) // _CHUNK)
    pool = _open_pool(workers)
    bar = tqdm(total=len(source.names), initial=done, desc="decode", unit="img")
    try:
        decode = functools.partial(_decode, source.root, image_size)
        for name, result in zip(
            source.names[done:],
            pool.map(decode, source.names[done:], chunksize=_CHUNK),
            strict=True,
        ):
            if isinstance(result, str):
                unreadable[name] = result
                _refuse_if_broken(source, unreadable, _unreadable_list(pixels))
            else:
                partial.write(result)
            done += 1
            bar.update()
            if done % _SAVE_EVERY == 0:
                save_progress()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process that decodes images was killed, probably for lack of memory; the same "
            "command goes on where it stopped"
        ) from error
    finally:
        save_progress()
        bar.close()
        pool.shutdown(wait=True, cancel_futures=True)

    partial.seek(0)
    facts = {"sha256": hashlib.file_digest(partial, "sha256").hexdigest(), "unreadable": unreadable}
    if unreadable:
        _write_list(_unreadable_list(pixels), unreadable)
    os.fsync(partial.fileno())
    # First: a run that is killed from here on decodes again, but progress without its pixels would
    # be refused as damaged.
    progress.unlink()
    os.replace(partial.name, pixels)
    write_text(pixels.with_suffix(".json"), json.dumps(facts))


def _open_pool(workers: int) -> Executor:
    """Processes that decode, or threads where the system lets no pool of processes be made."""
    if not can_start_processes():
        print("/dev/shm cannot be written, so images are decoded in one process")
        return ThreadPoolExecutor(workers)
    # Spawned, not forked: a fork would copy running torch threads of the parent.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _write_list(path: Path, unreadable: dict[str, str]) -> None:
    write_text(path, "".join(f"{printable(name)}\t{why}\n" for name, why in unreadable.items()))


def _refuse_if_broken(source: ImageSource, unreadable: dict[str, str], list_path: Path) -> None:
    if len(unreadable) <= MAX_UNREADABLE * len(source.names):
        return
    _write_list(list_path, unreadable)
    raise ValueError(
        f"{source.root}: {len(unreadable)} of {len(source.names)} images cannot be read, more than "
        f"{MAX_UNREADABLE:.0%}; {list_path} lists them: repair or remove them, then run again"
    )


def _decode(root: Path, image_size: int, name: str) -> bytes | str:
    """The pixels of one image, or the reason why it cannot be read."""
    try:
        return crop_to_square(read_image(root, name), image_size).tobytes()
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
