"""Markdown: tables, pictures, and a page that ends with the provenance of its run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ALIGNMENTS = {"l": ":---", "r": "---:"}


def markdown_page(title: str, parts: Iterable[str], facts: Mapping[str, str]) -> str:
    """A page in Markdown that ends with the provenance of the run.

    Args:
        parts: Paragraphs, headings, tables and pictures.
        facts: Name -> value, for the provenance.
    """
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return "\n\n".join([f"# {title}", *parts, "## Provenance", lines]) + "\n"


def picture_line(path: Path, alt: str, out: Path) -> str:
    """A picture of the run folder ``out`` in Markdown."""
    return f"![{alt}]({path.relative_to(out)})"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], alignment: str | None = None
) -> str:
    """A table in Markdown.

    Args:
        alignment: One letter per column, l or r. Default: the first column to the left (names),
            the others to the right (numbers).
    """
    alignment = alignment or "l" + "r" * (len(header) - 1)
    lines = [header, [ALIGNMENTS[letter] for letter in alignment], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Cell:
    """A text, and whether its value is the best of its column."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A header, and lines with one cell per column. The first column holds names."""

    header: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    alignment: str | None = None
    """One letter per column, l or r. Default: names to the left, numbers to the right."""
    marks_equals: bool = False
    """Whether page names the first of lines with the same numbers."""

    @property
    def marked_lines(self) -> list[tuple[tuple[Cell, ...], str]]:
        """Every line, with the name of the first line above that has the same numbers."""
        first: dict[tuple[str, ...], str] = {}
        marked = []
        for line in self.lines:
            name, *numbers = (cell.text for cell in line)
            above = first.setdefault(tuple(numbers), name)
            marked.append((line, above if self.marks_equals and above != name else ""))
        return marked

    @staticmethod
    def of(
        header: Sequence[str], lines: Sequence[Sequence[str]], marks_equals: bool = False
    ) -> "Table":
        """A table of plain texts."""
        cells = tuple(tuple(map(Cell, line)) for line in lines)
        return Table(tuple(header), cells, marks_equals=marks_equals)

    def markdown(self) -> str:
        """The table in Markdown, with the best values in bold."""
        lines = [
            [f"**{cell.text}**" if cell.is_best else cell.text for cell in line]
            for line in self.lines
        ]
        return markdown_table(self.header, lines, self.alignment)
