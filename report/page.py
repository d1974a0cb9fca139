"""The report of a comparison as one self-contained page: no network, no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from report.pictures import EmbeddedPicture, Picture, embed
from report.tables import Table
from vae.files import write_text

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
