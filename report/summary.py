"""``summary.md`` beside the results of every command, and the same words in the terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiment.folder import (
    CONFIG,
    REPORT,
    SUMMARY,
    command_line,
    describe_run,
    read_run,
    record_lines,
)
from experiment.write import write_text
from report.markdown import Table
from report.page import Page, Picture, Section, markdown, write_page

MOST_WITHOUT_PAGE = 2  # pictures


def write_summary(
    out: Path,
    title: str,
    parts: str | Sequence[str | Table],
    pictures: Sequence[Picture],
    others: Sequence[Path] = (),
) -> None:
    """Write ``summary.md`` in the run folder ``out``; print its text and the files of the run.

    A command with more than two pictures gets the page ``report.html`` too.

    Args:
        parts: The results. With more than two pictures these are plain paragraphs and tables, with
            fewer any Markdown.
        pictures: In the run folder, shown below the text.
        others: Further files to name: results first, then files for other commands.
    """
    record_lines(out)
    parts = [parts] if isinstance(parts, str) else parts
    page = Page(
        title=title,
        parts=parts,
        sections=[Section("Figures", pictures)],
        facts=describe_run(out),
        command=command_line(read_run(out)),
        files=[*others, out / SUMMARY, out / CONFIG],
    )
    files = [out / SUMMARY]
    write_text(files[0], markdown(page, out))
    if len(pictures) > MOST_WITHOUT_PAGE:
        files.append(out / REPORT)
        write_page(files[1], page)
    text = "\n\n".join(part if isinstance(part, str) else part.markdown() for part in parts)
    print(f"\n{text}\n")
    list_files([*files, *others, *(picture.path for picture in pictures)])


def list_files(paths: Iterable[Path]) -> None:
    """Print the names of files, one per line."""
    print("\n".join(map(str, paths)))
