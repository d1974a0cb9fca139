"""Attributes of images, as CelebA lists them, and their directions among the latents.

The direction of an attribute is the difference of two means: of the codes of images that have it,
and of those that have not (Larsen et al. 2016, arXiv:1512.09300, sec. 4.2). Nothing is trained.
"""

import csv
import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiment.folder import file_in
from experiment.read import TEXT, expect, reading, short_repr
from experiment.tensors import (
    checked_tensor,
    metadata_integer,
    metadata_value,
    read_tensors,
    write_tensors,
)
from vae.images import image_stem, printable

ATTRIBUTES_KIND = "mergelab attribute directions, format 1"
ATTRIBUTES_FILE = "attributes.safetensors"
HAS, HAS_NOT = "1", "-1"


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of A attributes among the latents of a data set."""

    names: tuple[str, ...]
    directions: Tensor
    """Mean code with the attribute minus mean code without it, (A, d) float32; 0 for an attribute
    that all images or none of them have."""
    counts: Tensor
    """Images that have it, (A,) int64."""
    count: int
    """Images in all."""
    vae_sha256: str

    def of(self, name: str, path: Path) -> Tensor:
        """The direction of one attribute, (d,).

        Raises:
            ValueError: there is no such attribute, or it does not tell images apart.
        """
        if name not in self.names:
            close = difflib.get_close_matches(name, self.names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self.names)}"
            raise ValueError(f"--attribute {name}: {path} has no such attribute; {hint}")
        place = self.names.index(name)
        having = int(self.counts[place])
        if having in (0, self.count):
            raise ValueError(
                f"--attribute {name}: {having} of {self.count} images have it, so it has no "
                "direction; give another"
            )
        return self.directions[place]


def read_attributes(path: Path, images: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """The names of the attributes in a list, and which images have them, (N, A).

    The list is CelebA's ``list_attr_celeba.txt``, or ``.csv`` as on Kaggle: a line of names, then
    per image its name and 1 (has it) or -1. The text file begins with the number of images. Images
    are looked up without folder and ending.

    Args:
        images: Names of the images, relative to their folder.

    Raises:
        FileNotFoundError, OSError: the list is missing, or cannot be read.
        ValueError: it is none, or lacks an image.
    """
    with reading(path, "a list of attributes", "give CelebA's list_attr_celeba.txt or .csv"):
        rows = _rows(path)
        names = tuple(next(rows, []))
        if not names or len(set(names)) < len(names):
            raise ValueError("its names of attributes must be one or more different ones")
        found: dict[str, NDArray[np.bool_]] = {}
        for image, *values in rows:
            if len(values) != len(names):
                raise ValueError(f"{image} has {len(values)} values of {len(names)}")
            for value in values:
                if value not in (HAS, HAS_NOT):
                    raise ValueError(f"{image} has the value {short_repr(value)}, must be 1 or -1")
            stem = image_stem(image)
            if stem in found:
                raise ValueError(f"has {stem} twice")
            found[stem] = np.array([value == HAS for value in values])
        missing = [image for image in images if image_stem(image) not in found]
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise ValueError(f"has no line for {printable(missing[0])}{more}")
        return names, np.stack([found[image_stem(image)] for image in images])


def _rows(path: Path) -> Iterator[list[str]]:
    """The names of the attributes, then the fields of every image."""
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding=TEXT) as file:
            rows = csv.reader(file, strict=True)
            yield next(rows, [])[1:]  # its first name is that of the column of images
            yield from (row for row in rows if row)
        return
    count, *lines = [line.split() for line in path.read_text(encoding=TEXT).splitlines()] or [[]]
    rows_ = [line for line in lines[1:] if line]
    if len(count) != 1 or not count[0].isdecimal() or int(count[0]) != len(rows_):
        raise ValueError(
            f"its first line must be the number of images, {len(rows_)}, got "
            f"{short_repr(' '.join(count))}"
        )
    yield lines[0] if lines else []
    yield from rows_


def find_directions(
    names: tuple[str, ...], has: NDArray[np.bool_], codes: Tensor, vae_sha256: str
) -> Directions:
    """The direction of every attribute.

    Args:
        has: Which images have which attribute, (N, A).
        codes: Latents of the same images, (N, d).
    """
    having = torch.from_numpy(has).double()  # (N, A)
    counts = having.sum(dim=0)
    total = codes.double().sum(dim=0)
    sums = having.T @ codes.double()  # (A, d)
    others = len(codes) - counts
    both = (counts > 0) & (others > 0)
    means = sums / counts.clamp(min=1)[:, None], (total - sums) / others.clamp(min=1)[:, None]
    directions = (means[0] - means[1]) * both[:, None]
    return Directions(names, directions.float(), counts.long(), len(codes), vae_sha256)


def save_directions(path: Path, found: Directions) -> None:
    """Write directions, completely or not at all."""
    metadata = {
        "kind": ATTRIBUTES_KIND,
        "names": json.dumps(found.names),
        "count": str(found.count),
        "vae_sha256": found.vae_sha256,
    }
    write_tensors(path, {"directions": found.directions, "counts": found.counts}, metadata)


def directions_path(given: Path) -> Path:
    """The file of directions in a folder of encode_latents, or the given file."""
    return file_in(given, ATTRIBUTES_FILE)


def load_directions(path: Path) -> Directions:
    """Read what ``save_directions`` wrote.

    Raises:
        FileNotFoundError, OSError, ValueError: missing, unreadable or damaged.
    """
    hint = "make it with mergelab encode_latents --attributes list_attr_celeba.txt"
    tensors, metadata = read_tensors(path, ATTRIBUTES_KIND, hint)
    with reading(path, "directions of attributes", hint):
        listed = expect(json.loads(metadata_value(metadata, "names")), list, "names")
        names = tuple(expect(name, str, "a name") for name in listed)
        return Directions(
            names=names,
            directions=checked_tensor(tensors, "directions", torch.float32, (len(names), None)),
            counts=checked_tensor(tensors, "counts", torch.int64, (len(names),)),
            count=metadata_integer(metadata, "count", least=1),
            vae_sha256=metadata_value(metadata, "vae_sha256"),
        )
