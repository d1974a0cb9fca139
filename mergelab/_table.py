"""Tables of results: readable as text, in a notebook, and as a DataFrame where pandas is there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

Value = str | float | int | bool | None


@dataclass(frozen=True, repr=False)
class Table:
    """Rows with the same columns; iterating gives one dict per row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    title: str = ""

    def __iter__(self) -> Iterator[dict[str, Value]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[Value]:
        """The values of a column."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def __repr__(self) -> str:
        texts = [self.columns, *(tuple(map(text, row)) for row in self.rows)]
        title = [one_line(self.title)] if self.title else []
        return "\n".join([*title, *aligned(texts, self._left)])

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def _left(self) -> list[bool]:
        """Whether each column holds words, which stand to the left."""
        return [any(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]


def frame(table: Table) -> "pandas.DataFrame | Table":
    """The table as a DataFrame where pandas is installed, else the table itself."""
    try:
        import pandas
    except ImportError:
        return table
    return pandas.DataFrame(list(table.rows), columns=list(table.columns))


def text(value: Value) -> str:
    """A value in a cell."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, float):
        return f"{value:.4e}"
    return f"{value:,}" if isinstance(value, int) else one_line(value)


def one_line(words: str) -> str:
    """Words of a file, which may hold anything, on one line."""
    return words if words.isprintable() else repr(words)


def aligned(rows: Sequence[Sequence[str]], left: Sequence[bool]) -> list[str]:
    """Lines whose columns stand below each other.

    Args:
        left: Whether each column is aligned to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(table: Table) -> str:
    """The table in HTML, for notebooks; every text is escaped."""
    sides = ["left" if left else "right" for left in table._left]

    def line(cells: Sequence[str], tag: str) -> str:
        made = [
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        ]
        return f"<tr>{''.join(made)}</tr>"

    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    body = "\n".join(line(tuple(map(text, row)), "td") for row in table.rows)
    head = line(table.columns, "th")
    return f"<table>{caption}\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"
