"""Images: folders, CelebA's layouts and zip; splits, the face crop, and bytes as floats."""

import csv
import functools
import hashlib
import io
import os
import stat
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiment.read import TEXT, error_text, reading, short_repr
from vae.pixels import as_shown

IMAGE_SIZES = (32, 48, 64, 96, 128)  # pixels, height and width; the network halves them to 2 or 3
DEFAULT_IMAGE_SIZE = 64  # as in [OM] and the embedded model
# What zipfile raises when its list of members is damaged.
BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError)
# What Pillow only identifies, or hands to another program such as Ghostscript.
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
# What Pillow and zipfile raise for damaged input.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)
SYSTEM_FILES = frozenset({"__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"})
CELEBA_ZIP = "img_align_celeba.zip"
MOST_MEMBER_BYTES = 64 << 20  # upper limit for an unpacked member of a zip
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
SPLITS = ("train", "validation", "test")  # numbered 0, 1, 2 as in CelebA's partition file
HOLDOUT = 0.05  # share held out for validation if there is no partition file
CROP = 148 / 178  # side of the centred square, as a share of the image's width
_SQUARE = "centre-square-148/178-width_bilinear-antialias"
LEAST_SIDE = 8  # pixels of that square; fewer show no face


def preprocessing_id(image_size: int) -> str:
    """Identifier of the preprocessing; weights and caches record it."""
    return f"{_SQUARE}_{image_size}px_v2"


def known_preprocessing(image_size: int) -> tuple[str, ...]:
    """Identifiers under which weights may have been made.

    Version 1 knew fewer kinds of images, and has the same pixels for plain JPEGs, such as CelebA's.
    """
    return (preprocessing_id(image_size), f"{_SQUARE}_{image_size}px_v1")


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not used, for one reason."""

    kind: str  # in the plural, with the reason
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count} {self.kind} ({printable(self.example)})"


@dataclass(frozen=True)
class ImageSource:
    """Images in one place: files below ``root``, or members of the zip ``root``."""

    root: Path
    names: tuple[str, ...]  # sorted, relative to root, with forward slashes
    sizes: tuple[int, ...]  # bytes
    # ns of the last change, also of one that put the old time back by hand (ctime); of a zip: its
    # own time first, then 0 for each member
    changed: tuple[int, ...]
    partition: Path | None  # CelebA's official partition file, if present
    left_out: tuple[LeftOut, ...] = ()  # every other file that was found there, by kind

    def fingerprint(self, image_size: int = DEFAULT_IMAGE_SIZE) -> str:
        """SHA-256 over the names, sizes and times of all images and over the preprocessing."""
        preprocessing = preprocessing_id(image_size)
        digest = hashlib.sha256(f"{preprocessing}\n".encode())
        digest.update(os.fsencode(self.root.resolve()) + b"\n")
        rows = zip(self.names, self.sizes, self.changed, strict=True)
        digest.update(
            os.fsencode("\n".join(f"{name}\t{size}\t{changed}" for name, size, changed in rows))
        )
        return digest.hexdigest()


def printable(name: str) -> str:
    """A file's name as text. A byte that is not UTF-8 is shown as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Endings, in lower case, of the formats that the installed Pillow decodes by itself."""
    Image.init()
    decoded = {*Image.OPEN, "MPO"} - NOT_DECODED  # the reader of JPEG opens MPO
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in decoded
    )


def find_images(data: Path) -> ImageSource:
    """All images under ``data``, searched recursively, or in its ``img_align_celeba.zip``.

    If there is a zip beside images, the one of both that has more images is used.

    Raises:
        FileNotFoundError: ``data`` is missing.
        OSError: a folder in it cannot be listed.
        ValueError: it holds no image, the zip cannot be read, or two partition files differ.
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

    found = _Found()
    _search(data, found)
    partition = _choose_partition(found.partitions)
    archives = sorted(found.archives)
    packed = _from_zip(archives[0], partition) if archives else None
    if packed and len(packed.names) > len(found.images):
        for name in sorted(found.images):
            found.leave_out("images beside the zip, which has more", name)
        for path in archives[1:]:
            found.leave_out("more zips", path.name)
        return replace(packed, left_out=(*packed.left_out, *found.kinds()))
    for path in archives:
        found.leave_out("zips beside the images, which are as many", path.name)
    if not found.images:
        counted = "; ".join(str(kind) for kind in found.kinds())
        raise ValueError(f"{data}: no image found{counted and f', but {counted}'}; {hint}")
    names, sizes, changed = zip(
        *sorted((name, *facts) for name, facts in found.images.items()), strict=True
    )
    return ImageSource(data, names, sizes, changed, partition, found.kinds())


@dataclass
class _Found:
    """What a search has come upon so far."""

    images: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> bytes, ns
    archives: list[Path] = field(default_factory=list)
    partitions: list[Path] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)  # kind -> names
    seen: set[tuple[int, int]] = field(default_factory=set)  # device and inode

    def leave_out(self, kind: str, name: str) -> None:
        self.others.setdefault(kind, []).append(name)

    def kinds(self) -> tuple[LeftOut, ...]:
        """What is left out, the largest kind first."""
        kinds = [LeftOut(kind, len(names), min(names)) for kind, names in self.others.items()]
        return tuple(sorted(kinds, key=lambda kind: (-kind.count, kind.kind)))

    def is_new(self, status: os.stat_result) -> bool:
        """Whether the file or folder was not met before, under any name."""
        before = len(self.seen)
        self.seen.add((status.st_dev, status.st_ino))
        return len(self.seen) > before


def _search(data: Path, found: _Found) -> None:
    """Note every file below ``data``.

    Symbolic links are followed, because data sets are often linked, but after everything else:
    what is also there without a link, or through an earlier one, counts once.
    """
    links: list[tuple[str, str]] = []  # path, relative name
    folders = [(str(data), "")]
    while folders or links:
        if not folders:
            _follow(*links.pop(0), found, folders)
            continue
        folder, prefix = folders.pop()
        try:
            if not found.is_new(os.stat(folder)):
                found.leave_out("links to a folder that is read already", prefix.rstrip("/"))
                continue
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise OSError(
                f"{printable(folder)}: cannot be listed ({error_text(error)}); make it readable, "
                "or move it out of the data"
            ) from error
        for entry in entries:
            name = prefix + entry.name
            if _is_aside(entry.name):
                found.leave_out("hidden files and files of the system", name)
            elif entry.is_symlink():
                links.append((entry.path, name))
            elif entry.is_dir():
                folders.append((entry.path, f"{name}/"))
            else:
                _note(entry.path, name, entry.stat(), found)


def _follow(path: str, name: str, found: _Found, folders: list[tuple[str, str]]) -> None:
    """Note what a symbolic link leads to."""
    try:
        status = os.stat(path)
    except OSError:  # it leads nowhere, or in a circle
        if _suffix(name) in image_suffixes():
            found.images[name] = (0, 0)  # counted among the unreadable images
        else:
            found.leave_out("links that lead nowhere", name)
        return
    if stat.S_ISDIR(status.st_mode):
        folders.append((path, f"{name}/"))
    elif (status.st_dev, status.st_ino) in found.seen:
        found.leave_out("links to a file that is read already", name)
    else:
        _note(path, name, status, found)


def _note(path: str, name: str, status: os.stat_result, found: _Found) -> None:
    """Note a file by its ending."""
    found.is_new(status)
    suffix, last = _suffix(name), name.rpartition("/")[2]
    if not stat.S_ISREG(status.st_mode):
        found.leave_out("pipes, sockets and devices", name)
    elif suffix in image_suffixes():
        found.images[name] = (status.st_size, status.st_ctime_ns)
    elif last == CELEBA_ZIP:
        found.archives.append(Path(path))
    elif last in PARTITION_FILES:
        found.partitions.append(Path(path))
    else:
        found.leave_out(_not_read(suffix), name)


def _suffix(name: str) -> str:
    # String operations: pathlib takes a second for all of CelebA.
    return os.path.splitext(name)[1].lower()


def _not_read(suffix: str) -> str:
    if not suffix:
        return "files without an ending, which are not read"
    return f"{printable(suffix)} files, which are not read"


def _is_aside(name: str) -> bool:
    """Whether a file or folder is hidden, or made by a file manager or an archiver."""
    return (name.startswith(".") and name.strip(".") != "") or name in SYSTEM_FILES


def _from_zip(archive: Path, partition: Path | None) -> ImageSource:
    with (
        reading(archive, "a readable zip", "download it again", also=BAD_ZIP),
        zipfile.ZipFile(archive) as opened,
    ):
        infos = [info for info in opened.infolist() if not info.is_dir()]
    found = _Found()
    for info in infos:
        name = info.filename
        suffix = _suffix(name)
        if any(_is_aside(part) for part in name.split("/")):
            found.leave_out("hidden files and files of the system", name)
        elif name in found.images:
            found.leave_out("members of the zip with the name of another", name)
        elif suffix in image_suffixes():
            found.images[name] = (info.file_size, 0)
        elif name.rpartition("/")[2] in PARTITION_FILES:
            found.leave_out("partition files in the zip, read only beside it", name)
        else:
            found.leave_out(_not_read(suffix), name)
    if not found.images:
        counted = "; ".join(str(kind) for kind in found.kinds())
        raise ValueError(
            f"{archive}: no image in the zip{counted and f', but {counted}'}; "
            "data/README.md says which zip to get"
        )
    names, sizes = zip(
        *sorted((name, size) for name, (size, _) in found.images.items()), strict=True
    )
    changed = (archive.stat().st_ctime_ns, *[0] * (len(names) - 1))
    return ImageSource(archive, names, sizes, changed, partition, found.kinds())


def open_image(root: Path, name: str) -> Image.Image:
    """Open one image: a file below the folder ``root``, or a member of the zip ``root``.

    Raises:
        OSError: it is in a format that only other programs decode.
    """
    if root.suffix.lower() == ".zip" and root.is_file():
        image = Image.open(io.BytesIO(_read_member(_open_zip(root), name)))
    else:
        image = Image.open(root / name)
    if image.format in NOT_DECODED:
        image.close()
        raise OSError(f"holds {image.format}, which is not decoded")
    return image


def read_image(root: Path, name: str) -> Image.Image:
    """One image as a viewer shows it, in mode RGB, by the rules of ``vae.pixels``.

    Raises:
        UNREADABLE: it is damaged, or its pixels have no meaning by those rules.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata and large images; errors are raised
        try:
            with open_image(root, name) as image:
                return as_shown(image)
        except (*UNREADABLE, MemoryError):
            raise
        # Decoders of rare formats raise AttributeError, KeyError and more for damaged files.
        except Exception as error:
            raise OSError(f"cannot be decoded ({error_text(error)})") from error


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

    The image is taken as a viewer shows it (``vae.pixels``), so its width is that of the upright
    picture.

    Returns:
        RGB, (S, S, 3) for S = ``image_size``. An image that is lower than the square is cropped
            to its full height.

    Raises:
        ValueError: the square has fewer than 8 pixels per side.
    """
    shown = as_shown(image)
    width, height = shown.size
    side = min(CROP * width, height)
    if side < LEAST_SIDE:
        raise ValueError(f"{width}x{height} pixels are too few to show a face")
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(shown.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box))


def assign_splits(names: tuple[str, ...], partition: Path | None) -> NDArray[np.uint8]:
    """Split of every image, (N,): 0 train, 1 validation, 2 test.

    CelebA's official partition if its file is given, matched without folder and ending, so that
    ``000001.png`` is the ``000001.jpg`` of the list. Otherwise a fixed 5 % is validation, chosen by
    the file name without folder and suffix, so two sizes of one photo belong to the same split.

    Raises:
        ValueError: the partition file is malformed, lacks an image, or contradicts itself.
    """
    if partition is None:
        return np.array([_is_held_out(name) for name in names], dtype=np.uint8)
    official = _by_stem(partition)
    stems = [image_stem(name) for name in names]
    missing = [name for name, stem in zip(names, stems, strict=True) if stem not in official]
    if missing:
        raise ValueError(
            f"{partition}: no split for {printable(missing[0].rpartition('/')[2])}"
            f"{f' and {len(missing) - 1} more' if missing[1:] else ''}; "
            "remove the partition file to use a fixed 5 % hold-out"
        )
    return np.array([official[stem] for stem in stems], dtype=np.uint8)


def image_stem(name: str) -> str:
    """The name of an image without folder and ending; other endings belong to the name."""
    last = name.rpartition("/")[2]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in image_suffixes() else last


def _by_stem(partition: Path) -> dict[str, int]:
    """The splits of a partition file by the names without folder and ending."""
    splits: dict[str, int] = {}
    for name, split in read_partition(partition).items():
        stem = image_stem(name)
        if splits.setdefault(stem, split) != split:
            raise ValueError(
                f"{partition}: gives {stem} two splits, {SPLITS[splits[stem]]} and "
                f"{SPLITS[split]}, under two endings; keep one"
            )
    return splits


def _choose_partition(found: list[Path]) -> Path | None:
    """The one partition file, or the longest of several that agree.

    Raises:
        ValueError: two of them contradict each other, or each names images that the other lacks.
    """
    if len(found) < 2:
        return found[0] if found else None
    lists = {path: _by_stem(path) for path in sorted(found)}
    longest = max(lists, key=lambda path: len(lists[path]))
    for path, splits in lists.items():
        for stem, split in splits.items():
            other = lists[longest].get(stem)
            if other != split:
                said = "none" if other is None else SPLITS[other]
                raise ValueError(
                    f"{path} and {longest} contradict each other: {stem} is {SPLITS[split]} in the "
                    f"first and {said} in the second; remove one of them"
                )
    return longest


def _is_held_out(name: str) -> bool:
    stem = os.path.splitext(name.rpartition("/")[2])[0]
    digest = hashlib.sha256(os.fsencode(stem)).digest()
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
