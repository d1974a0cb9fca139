"""The command check_data: layout, counts, sizes and splits of a folder of images."""

import re
from collections import Counter

import numpy as np

from experiment.read import error_text
from vae.config import CheckConfig
from vae.images import (
    SPLITS,
    UNREADABLE,
    assign_splits,
    crop_to_square,
    find_images,
    printable,
    read_image,
)

CELEBA_COUNT = 202_599
CELEBA_SIZE = (178, 218)
_SIZES_SHOWN = 5


def check_data(config: CheckConfig) -> None:
    """Print where the images are, their number, sizes and splits, and what is not used of them.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: it holds no image, or its partition file is damaged.
    """
    source = find_images(config.data)
    count = len(source.names)
    splits = np.bincount(assign_splits(source.names, source.partition), minlength=len(SPLITS))
    rule = source.partition or "fixed 5 % hold-out by file name, no partition file found"
    print(f"images:  {count} in {source.root}, {sum(source.sizes) / 1e6:.1f} MB")
    print("splits:  " + ", ".join(f"{n} {name}" for n, name in zip(splits, SPLITS, strict=True)))
    print(f"         ({rule})")

    for kind in source.left_out:
        print(f"unused:  {kind}")

    places = np.unique(np.linspace(0, count - 1, min(config.sample, count)).astype(int))
    sizes: Counter[tuple[int, int]] = Counter()
    damaged: dict[str, list[str]] = {}
    for place in places:
        name = source.names[place]
        try:
            shown = read_image(source.root, name)
            crop_to_square(shown)
            sizes[shown.size] += 1
        except UNREADABLE as error:
            damaged.setdefault(_kind(error), []).append(f"{printable(name)}: {error_text(error)}")
    shown_sizes = [f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(_SIZES_SHOWN)]
    more = ", ..." if len(sizes) > _SIZES_SHOWN else ""
    print(f"sizes:   {', '.join(shown_sizes) or 'none'}{more}, of {len(places)} opened")
    print(f"damaged: {sum(map(len, damaged.values()))} of {len(places)} opened")
    for examples in sorted(damaged.values(), key=len, reverse=True):
        print(f"         {len(examples)} like {examples[0]}")
    whole = count == CELEBA_COUNT and set(sizes) == {CELEBA_SIZE}
    print(f"CelebA:  {'all' if whole else 'not all'} {CELEBA_COUNT} aligned images of 178x218")


def _kind(error: Exception) -> str:
    """What is common to the errors of several images: the text without numbers and names."""
    return re.sub(r"[\d.]+|'.*'|/\S+|0x\w+", "", error_text(error))
