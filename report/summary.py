"""``summary.md`` beside the results of every command, and the same words in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from experiment.folder import SUMMARY, describe_run
from experiment.write import write_text

ALIGNMENTS = {"l": ":---", "r": "---:"}


def write_summary(
    out: Path, title: str, text: str, figures: Sequence[Path], others: Sequence[Path] = ()
) -> None:
    """Write ``summary.md`` in the run folder ``out``; print its text and the files of the run.

    Args:
        text: The results, in Markdown.
        figures: Pictures in the run folder, shown below the text.
        others: Further files to name: results first, then files for other commands.
    """
    shown = [picture_line(path, path.stem.replace("_", " "), out) for path in figures]
    write_text(out / SUMMARY, markdown_page(title, [text, *shown], describe_run(out)))
    print(f"\n{text}\n")
    list_files([out / SUMMARY, *others, *figures])


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


def list_files(paths: Iterable[Path]) -> None:
    """Print the names of files, one per line."""
    print("\n".join(map(str, paths)))


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
