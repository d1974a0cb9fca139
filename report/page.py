"""The report of a comparison as one self-contained page, its figures embedded."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from experiment.write import write_text
from report.summary import markdown_page, picture_line
from report.tables import Table

TEMPLATE = "page.html.j2"
WIDEST = 1600  # pixels: twice the width on the page, for fine screens and print
QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A figure of a run."""

    path: Path
    caption: str
    alt: str  # description for readers who cannot see it
    is_photo: bool = False  # faces, not lines: as wide as the page, stored with slight loss


@dataclass(frozen=True)
class EmbeddedPicture:
    """A figure within a page."""

    data_uri: str
    width: int  # pixels in the layout
    height: int
    caption: str
    alt: str


def embed(picture: Picture) -> EmbeddedPicture:
    """The figure as a data URI: WebP, lossless for lines, shown at half its pixels."""
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


@dataclass(frozen=True)
class Section:
    """Pictures under a heading."""

    heading: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """The content of the page as plain text. The template escapes it."""

    title: str
    subtitle: str
    recommendation: str
    verdict: Table | None
    """What the recommendation rests on."""
    claim: Sequence[str]
    definitions: str
    overviews: Sequence[tuple[str, Table]]
    changes_heading: str
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


def markdown(page: Page, out: Path) -> str:
    """The page in Markdown, for the run folder ``out``."""
    verdict = [] if page.verdict is None else [page.verdict.markdown()]
    parts = [page.subtitle, f"**{page.recommendation}**", *verdict, *page.claim, page.definitions]
    for heading, table in page.overviews:
        parts += [f"## {heading}", table.markdown()]
    if page.changes:
        parts += [f"## {page.changes_heading}"]
        parts.append("\n".join(f"- {sentence}" for sentence in page.changes))
    parts += page.notes
    for section in page.sections:
        parts.append(f"## {section.heading}")
        for picture in section.pictures:
            parts += [picture_line(picture.path, picture.alt, out), picture.caption]
    for heading, table in page.details:
        parts += [f"## {heading}", table.markdown()]
    return markdown_page(page.title, parts, page.facts)


def write_page(path: Path, page: Page) -> None:
    """Write the page, completely or not at all."""
    environment = Environment(
        loader=PackageLoader("report"), autoescape=True, undefined=StrictUndefined
    )
    sections = [
        _EmbeddedSection(section.heading, [embed(picture) for picture in section.pictures])
        for section in page.sections
    ]
    text = environment.get_template(TEMPLATE).render(vars(page) | {"sections": sections})
    write_text(path, text + "\n")
