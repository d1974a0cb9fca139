"""How every job ends: ``summary.md`` beside its results, and the same words on the terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiment.folder import SUMMARY, describe_run
from experiment.write import write_text


def write_summary(
    out: Path, title: str, text: str, figures: Sequence[Path], others: Sequence[Path] = ()
) -> None:
    """Write ``summary.md`` in the run folder ``out``; print what it says and where things lie.

    Args:
        text: What came out, in Markdown.
        figures: Pictures in the run folder, shown below the text.
        others: Further files worth naming: results first, then what other jobs take.
    """
    shown = [f"![{path.stem.replace('_', ' ')}]({path.relative_to(out)})" for path in figures]
    record = [f"- {name}: {value}" for name, value in describe_run(out).items()]
    parts = [f"# {title}", text, *shown, "## Provenance", "\n".join(record)]
    write_text(out / SUMMARY, "\n\n".join(parts) + "\n")
    print(f"\n{text}\n")
    list_files([out / SUMMARY, *others, *figures])


def list_files(paths: Iterable[Path]) -> None:
    """Name files on the terminal, one a line."""
    print("\n".join(map(str, paths)))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: words in the first column to the left, numbers in the others right."""
    lines = [header, [":---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
