"""The command check_data: layout, counts, sizes and splits of a folder of images."""

from collections import Counter

import numpy as np

from vae.cache import UNREADABLE
from vae.config import CheckConfig
from vae.images import SPLITS, assign_splits, find_images, open_image

CELEBA_COUNT = 202_599
CELEBA_SIZE = (178, 218)
_SIZES_SHOWN = 5


def check_data(config: CheckConfig) -> None:
    """Print where the images are, their number, sizes and splits.

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

    places = np.unique(np.linspace(0, count - 1, min(config.sample, count)).astype(int))
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable = []
    for place in places:
        try:
            with open_image(source.root, source.names[place]) as image:
                sizes[image.size] += 1
        except UNREADABLE as error:
            unreadable.append(f"{source.names[place]}: {error}")
    shown = [f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(_SIZES_SHOWN)]
    more = ", ..." if len(sizes) > _SIZES_SHOWN else ""
    print(f"sizes:   {', '.join(shown)}{more}, of {len(places)} opened")
    print(f"damaged: {len(unreadable)} of {len(places)} opened")
    for line in unreadable[:_SIZES_SHOWN]:
        print(f"         {line}")
    whole = count == CELEBA_COUNT and set(sizes) == {CELEBA_SIZE}
    print(f"CelebA:  {'all' if whole else 'not all'} {CELEBA_COUNT} aligned images of 178x218")
