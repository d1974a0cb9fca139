"""Images: folders, CelebA's layouts and zip; splits, the face crop, and bytes as floats."""

import csv
import functools
import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiment.read import TEXT, reading, short_repr

IMAGE_SIZES = (32, 48, 64, 96, 128)  # pixels, height and width; the network halves them to 2 or 3
DEFAULT_IMAGE_SIZE = 64  # as in [OM] and the embedded model
# What zipfile raises when its list of members is damaged.
BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
CELEBA_ZIP = "img_align_celeba.zip"
MOST_MEMBER_BYTES = 64 << 20  # upper limit for an unpacked member of a zip
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
SPLITS = ("train", "validation", "test")  # numbered 0, 1, 2 as in CelebA's partition file
HOLDOUT = 0.05  # share held out for validation if there is no partition file
CROP = 148 / 178  # side of the centred square, as a share of the image's width


def preprocessing_id(image_size: int) -> str:
    """Identifier of the preprocessing; weights and caches record it."""
    return f"centre-square-148/178-width_bilinear-antialias_{image_size}px_v1"


@dataclass(frozen=True)
class ImageSource:
    """Images in one place: files below ``root``, or members of the zip ``root``."""

    root: Path
    names: tuple[str, ...]  # sorted, relative to root, with forward slashes
    sizes: tuple[int, ...]  # bytes
    mtimes: tuple[int, ...]  # ns; of a zip: the time of the zip first, then 0 for each member
    partition: Path | None  # CelebA's official partition file, if present

    def fingerprint(self, image_size: int = DEFAULT_IMAGE_SIZE) -> str:
        """SHA-256 over the names, sizes and times of all images and over the preprocessing."""
        preprocessing = preprocessing_id(image_size)
        digest = hashlib.sha256(f"{preprocessing}\n{self.root.resolve()}\n".encode())
        rows = zip(self.names, self.sizes, self.mtimes, strict=True)
        digest.update("\n".join(f"{name}\t{size}\t{mtime}" for name, size, mtime in rows).encode())
        return digest.hexdigest()


def find_images(data: Path) -> ImageSource:
    """All images under ``data``, searched recursively, else its ``img_align_celeba.zip``.

    Raises:
        FileNotFoundError: ``data`` is missing.
        ValueError: it holds no image, or the zip cannot be read.
    """
    hint = (
        "expected a folder of images (CelebA: img_align_celeba/*.jpg or img_align_celeba.zip); "
        "data/README.md explains how to get it"
    )
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such folder; {hint}")
    if data.is_file():
        if data.suffix.lower() != ".zip":
            raise ValueError(f"{data}: neither a folder nor a zip; {hint}")
        return _from_zip(data, partition=None)

    images: list[tuple[str, int, int]] = []
    archive: Path | None = None
    partition: Path | None = None
    for entry, relative in _walk(data, prefix=""):
        if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            status = entry.stat()
            images.append((relative, status.st_size, status.st_mtime_ns))
        elif entry.name == CELEBA_ZIP:
            archive = Path(entry.path)
        elif entry.name in PARTITION_FILES:
            partition = Path(entry.path)
    if not images and archive:
        return _from_zip(archive, partition)
    if not images:
        raise ValueError(f"{data}: no image found; {hint}")
    names, sizes, mtimes = zip(*sorted(images), strict=True)
    return ImageSource(data, names, sizes, mtimes, partition)


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    """All files below ``folder`` with their relative names, except hidden files.

    Symbolic links are followed, because data sets are often linked.
    """
    # scandir distinguishes files from folders without a stat: it lists 200,000 images per second.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            else:
                yield entry, prefix + entry.name


def _from_zip(archive: Path, partition: Path | None) -> ImageSource:
    with (
        reading(archive, "a readable zip", "download it again", also=BAD_ZIP),
        zipfile.ZipFile(archive) as opened,
    ):
        members = [
            (info.filename, info.file_size)
            for info in opened.infolist()
            if PurePosixPath(info.filename).suffix.lower() in IMAGE_SUFFIXES
            and not PurePosixPath(info.filename).name.startswith(".")
        ]
    if not members:
        raise ValueError(f"{archive}: no image in the zip; data/README.md says which zip to get")
    names, sizes = zip(*sorted(members), strict=True)
    mtimes = (archive.stat().st_mtime_ns, *[0] * (len(names) - 1))
    return ImageSource(archive, names, sizes, mtimes, partition)


def open_image(root: Path, name: str) -> Image.Image:
    """Open one image: a file below the folder ``root``, or a member of the zip ``root``."""
    if root.suffix.lower() == ".zip" and root.is_file():
        return Image.open(io.BytesIO(_read_member(_open_zip(root), name)))
    return Image.open(root / name)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One member of a zip, in memory. Nothing is unpacked to disk, so no name can leave a folder.

    Raises:
        OSError: the member is larger than any image, or cannot be read.
    """
    info = archive.getinfo(name)
    # Other methods unpack a whole block before its size is known.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise OSError(
            f"{name}: encrypted, or compressed by another method than deflate; unpack the zip"
        )
    if info.file_size > MOST_MEMBER_BYTES:
        raise OSError(f"{name}: {info.file_size} bytes are more than an image has")
    with archive.open(info) as member:
        return member.read(info.file_size)  # without the size everything would be unpacked first


@functools.cache
def _open_zip(path: Path) -> zipfile.ZipFile:
    """One open handle per process."""
    return zipfile.ZipFile(path)


def crop_to_square(image: Image.Image, image_size: int = DEFAULT_IMAGE_SIZE) -> NDArray[np.uint8]:
    """Crop the centred square of 148/178 of the width and resize it with antialiasing.

    Returns:
        RGB, (S, S, 3) for S = ``image_size``. An image that is lower than the square is cropped
            to its full height.
    """
    width, height = image.size
    side = min(CROP * width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    square = image.convert("RGB").resize(
        (image_size, image_size), Image.Resampling.BILINEAR, box=box
    )
    return np.asarray(square)


def assign_splits(names: tuple[str, ...], partition: Path | None) -> NDArray[np.uint8]:
    """Split of every image, (N,): 0 train, 1 validation, 2 test.

    CelebA's official partition if its file is given. Otherwise a fixed 5 % is validation, chosen by
    the file name without folder and suffix, so two sizes of one photo belong to the same split.

    Raises:
        ValueError: the partition file is malformed or lacks an image.
    """
    if partition is None:
        return np.array([_is_held_out(name) for name in names], dtype=np.uint8)
    official = read_partition(partition)
    file_names = [name.rpartition("/")[2] for name in names]
    missing = next((name for name in file_names if name not in official), None)
    if missing is not None:
        raise ValueError(
            f"{partition}: no split for {missing}; "
            "remove the partition file to use a fixed 5 % hold-out"
        )
    return np.array([official[name] for name in file_names], dtype=np.uint8)


def _is_held_out(name: str) -> bool:
    # String operations: pathlib takes a second for all of CelebA.
    stem = os.path.splitext(name.rpartition("/")[2])[0]
    digest = hashlib.sha256(stem.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HOLDOUT * 2**32


def read_partition(path: Path) -> dict[str, int]:
    """CelebA's partition, file name -> split; text ("000001.jpg 0") or Kaggle's CSV.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not a new file name followed by 0, 1 or 2.
    """
    splits: dict[str, int] = {}
    with (
        reading(
            path, "a partition file", "download it again, or remove it to use a fixed 5 % hold-out"
        ),
        path.open(newline="", encoding=TEXT) as file,
    ):
        rows = csv.reader(file) if path.suffix == ".csv" else (line.split() for line in file)
        for number, row in enumerate(rows, start=1):
            if not row or (number == 1 and row == ["image_id", "partition"]):
                continue
            if len(row) != 2 or row[1] not in {"0", "1", "2"} or row[0] in splits:
                raise ValueError(
                    f"entry {number} reads {short_repr(row)}, expected a new file name and a split "
                    "0, 1 or 2"
                )
            splits[row[0]] = int(row[1])
    return splits
