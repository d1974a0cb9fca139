import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
LINE = re.compile(r"^(\w+) +predicted (\S+) +trained (\S+)$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_tutorial_runs_as_printed_in_any_folder(monkeypatch, tmp_path, capsys):
    """And prints what it says it prints, in numbers, up to another machine's rounding."""
    monkeypatch.chdir(tmp_path)
    (code,), (printed,) = blocks("python"), blocks("text")
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 20
    names: dict = {}
    exec(compile(code, "docs/tutorial.md", "exec"), names)
    found = LINE.findall(capsys.readouterr().out)
    expected = LINE.findall(printed)
    assert [row[0] for row in found] == [row[0] for row in expected]
    for row, said in zip(found, expected, strict=True):
        for number, other in zip(row[1:], said[1:], strict=True):
            assert abs(float(number) / float(other) - 1) < 0.02, row
    assert min(found, key=lambda row: float(row[2]))[0] == "per_dimension"
    assert names["samples"].shape == (8, 4)
    assert not list(tmp_path.iterdir())


def test_every_link_of_the_docs_leads_somewhere():
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (DOCS / link).exists(), f"{page.name}: {link}"
        for file in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
            assert (DOCS.parent / file).is_file(), f"{page.name}: {file}"
