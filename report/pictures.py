"""Figures of a run with their words, and as data that a page can hold within itself."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

WIDEST = 1600  # pixels on the page: twice what it shows, for fine screens and print
QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A figure of a run."""

    path: Path
    caption: str
    alt: str  # what it shows, for those who do not see it
    is_photo: bool = False  # of faces, not lines: as wide as the page, and stored with slight loss


@dataclass(frozen=True)
class EmbeddedPicture:
    """A figure within a page."""

    data_uri: str
    width: int  # pixels, as laid out
    height: int
    caption: str
    alt: str


def embed(picture: Picture) -> EmbeddedPicture:
    """The figure as a data URI: WebP, lossless for lines, and laid out at half its pixels."""
    with Image.open(picture.path) as opened:
        image = opened.convert("RGB")
    if picture.is_photo and image.width > WIDEST:
        height = round(image.height * WIDEST / image.width)
        image = image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="WEBP", lossless=not picture.is_photo, quality=QUALITY)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return EmbeddedPicture(
        data_uri=f"data:image/webp;base64,{text}",
        width=image.width if picture.is_photo else image.width // 2,
        height=image.height if picture.is_photo else image.height // 2,
        caption=picture.caption,
        alt=picture.alt,
    )
