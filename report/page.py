"""The report of a comparison as one self-contained page, its figures embedded."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from experiment.write import write_text
from report.tables import Table

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


TEMPLATE = "comparison.html.j2"


@dataclass(frozen=True)
class Section:
    """Pictures under a heading."""

    heading: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """What the page says, as plain text; the template escapes it."""

    title: str
    subtitle: str
    recommendation: str
    claim: Sequence[str]
    overviews: Sequence[tuple[str, Table]]
    changes: Sequence[str]
    notes: Sequence[str]
    sections: Sequence[Section]
    details: Sequence[tuple[str, Table]]
    facts: Mapping[str, str]
    command: str


@dataclass(frozen=True)
class _EmbeddedSection:
    heading: str
    pictures: Sequence[EmbeddedPicture]


def write_page(path: Path, page: Page) -> None:
    """Write the page, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("report"), autoescape=True, undefined=StrictUndefined
    )
    sections = [
        _EmbeddedSection(section.heading, [embed(picture) for picture in section.pictures])
        for section in page.sections
    ]
    text = environment.get_template(TEMPLATE).render(vars(page) | {"sections": sections})
    write_text(path, text + "\n")
