"""The report of a run as one self-contained page, its figures embedded."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from experiment.write import write_text
from report.markdown import Table, markdown_page, picture_line

TEMPLATE = "page.html.j2"
WIDEST = 1600  # pixels: the width of a wide page, which bounds the size of its file
QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A figure of a run."""

    path: Path
    caption: str
    alt: str = ""  # description for readers who cannot see it; without one, the caption
    is_photo: bool = False  # faces, not lines: as wide as the page, stored with slight loss
    folded: str = ""  # a line that hides a picture of less interest until the reader opens it


@dataclass(frozen=True)
class EmbeddedPicture:
    """A figure within a page."""

    data_uri: str
    width: int  # pixels in the layout
    height: int
    name: str  # name of the picture's file, unique within the page
    link: str  # link from the page to the picture's file
    caption: str
    alt: str
    is_photo: bool
    folded: str


def embed(picture: Picture, out: Path) -> EmbeddedPicture:
    """The figure as a data URI: WebP, lossless for lines, shown at half its pixels."""
    with Image.open(picture.path) as opened:
        image = opened.convert("RGBA" if picture.is_photo else "RGB")
    if picture.is_photo and image.width > WIDEST:
        height = round(image.height * WIDEST / image.width)
        image = image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="WEBP", lossless=not picture.is_photo, quality=QUALITY)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    shown = 1 if picture.is_photo else 2
    return EmbeddedPicture(
        data_uri=f"data:image/webp;base64,{text}",
        width=image.width // shown,
        height=image.height // shown,
        name=_anchor(picture.path.stem),
        link=_link(picture.path, out),
        caption=picture.caption,
        alt=picture.alt or picture.caption,
        is_photo=picture.is_photo,
        folded=picture.folded,
    )


@dataclass(frozen=True)
class Section:
    """Pictures under a heading."""

    heading: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Source:
    """A publication that texts of a page cite by its key."""

    key: str
    text: str
    url: str = ""


SOURCES = (
    Source(
        "[OM]",
        "W. Gao and M. Li, Toward Theoretical Insights into Diffusion Trajectory Distillation via "
        "Operator Merging, 2025",
        "https://arxiv.org/abs/2505.16024",
    ),
    Source(
        "[SCH]",
        "A. Suzuki and J. Wang, AI Applications Lecture 14: Goals and Scheduling of Diffusion "
        "Processes",
    ),
)


@dataclass(frozen=True)
class Page:
    """The content of the page as plain text. The template escapes it."""

    title: str
    sections: Sequence[Section]
    facts: Mapping[str, str]
    command: str
    files: Sequence[Path] = ()
    """Files of the run to link to, besides the pictures."""
    subtitle: str = ""
    warnings: Sequence[str] = ()
    """What is to be read before the recommendation."""
    recommendation: str = ""
    verdict: Table | None = None
    """What the recommendation rests on."""
    claim: Sequence[str] = ()
    parts: Sequence[str | Table] = ()
    """The results of a command that recommends nothing."""
    definitions: str = ""
    overviews: Sequence[tuple[str, Table]] = ()
    changes_heading: str = ""
    changes: Sequence[str] = ()
    notes: Sequence[str] = ()
    details: Sequence[tuple[str, Table]] = ()
    plan_view: Mapping[str, object] | None = None
    """``report.plan_view.plan_data``: the problem that readers can plan for on the page."""


@dataclass(frozen=True)
class _EmbeddedSection:
    heading: str
    pictures: Sequence[EmbeddedPicture]


def markdown(page: Page, out: Path) -> str:
    """The page in Markdown, for the run folder ``out``."""
    parts: list[str] = [page.subtitle, *page.warnings]
    parts += [f"**{page.recommendation}**" if page.recommendation else ""]
    parts += [] if page.verdict is None else [page.verdict.markdown()]
    parts += [*page.claim, page.definitions]
    parts += [part if isinstance(part, str) else part.markdown() for part in page.parts]
    for heading, table in page.overviews:
        parts += [f"## {heading}", table.markdown()]
    if page.changes:
        parts += [f"## {page.changes_heading}"]
        parts.append("\n".join(f"- {sentence}" for sentence in page.changes))
    parts += page.notes
    for section in page.sections:
        parts.append(f"## {section.heading}")
        for picture in section.pictures:
            alt = picture.alt or picture.caption
            parts += [picture_line(picture.path, alt, out), picture.caption]
    for heading, table in page.details:
        parts += [f"## {heading}", table.markdown()]
    for source in _cited(parts):
        named = f"[{source.text}]({source.url})" if source.url else source.text
        parts.append(f"{source.key} is {named}.")
    return markdown_page(page.title, filter(None, parts), page.facts)


def write_page(path: Path, page: Page) -> None:
    """Write the page, completely or not at all."""
    environment = Environment(
        loader=PackageLoader("report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"anchor": _anchor}
    out = path.parent
    sections = [
        _EmbeddedSection(section.heading, [embed(picture, out) for picture in section.pictures])
        for section in page.sections
    ]
    text = environment.get_template(TEMPLATE).render(
        vars(page)
        | {
            "sections": sections,
            "links": [(str(file.relative_to(out)), _link(file, out)) for file in page.files],
            "sources": _cited([markdown(page, out)]),
        }
    )
    write_text(path, text + "\n")


def _cited(texts: Sequence[str]) -> list[Source]:
    return [source for source in SOURCES if any(source.key in text for text in texts)]


def _anchor(text: str) -> str:
    """The text as the name of a place on the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _link(path: Path, out: Path) -> str:
    """Link from a page in the run folder ``out`` to a file of that run."""
    return (Path("/") / path.relative_to(out)).as_uri().removeprefix("file:///")
