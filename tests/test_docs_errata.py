"""Every number of docs/errata.md is computed anew, and every test it names is there."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

import tests.errata_sampler_oracles  # noqa: F401 - registers its oracles
from tests.errata_oracles import ORACLES, Row, algorithm_1
from tests.problems import problem

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text: str) -> dict[tuple[str, int], list[Row]]:
    """Entry and number of each table in it -> its rows."""
    found = {}
    for section in text.split("\n## ")[1:]:
        entry = section.partition(".")[0]
        blocks = re.findall(r"(?:^\|.*\n?)+", section, re.MULTILINE)
        for number, block in enumerate(blocks):
            header, _, *rows = block.strip().splitlines()
            found[entry, number] = [
                dict(zip(cells(header), cells(row), strict=True)) for row in rows
            ]
    return found


TABLES = tables(TEXT)
# What an oracle is given, besides what a column calls quoted.
INPUTS = {
    *("T", "λ", "s", "h", "w", "V", "a_k", "a_{k+1}", "a_{k-1}", "steps", "step", "scheme"),
    *("strategy", "steps per merge", "steps in total", "order p", "ratio r", "σ₁/σ₂"),
    *("variance of the noise", "largest relative gap below"),
}


@pytest.mark.parametrize(
    ("place", "row"),
    [(place, row) for place, rows in TABLES.items() for row in rows],
    ids=lambda part: "-".join(map(str, part)) if isinstance(part, tuple) else "",
)
def test_a_row_is_what_its_oracle_computes(place, row):
    computed = ORACLES[place](row)
    printed = {name for name in row if name not in INPUTS and "quoted" not in name}
    assert set(computed) == printed
    for name in printed:
        number = Decimal(row[name])
        last_place = float(Decimal(1).scaleb(number.as_tuple().exponent))
        assert computed[name] == pytest.approx(float(number), abs=0.501 * last_place, rel=0), name


def test_every_table_has_its_oracle_and_every_oracle_its_table():
    assert set(TABLES) == set(ORACLES)


def test_algorithm_1_as_printed_never_looks_at_the_first_step():
    operators, shrinkage, surrogate = problem(8, [0.5], 1.6)
    changed = operators.copy()
    changed[0] *= 2
    for ranges, looks in (("printed", False), ("corrected", True)):
        before, after = (
            algorithm_1(steps[:, 0], shrinkage[:, 0], surrogate[0], ranges)
            for steps in (operators, changed)
        )
        assert (before != after) is looks


def test_the_entries_are_those_that_the_code_cites():
    entries = set(re.findall(r"^## ([PL]-\d+)\.", TEXT, re.MULTILINE))
    cited = {
        entry
        for path in ROOT.glob("*/*.py")
        for entry in re.findall(r"ERRATA ([PL]-\d+)", path.read_text(encoding="utf-8"))
    }
    assert cited <= entries
    assert {entry for entry, _ in TABLES} <= entries


def test_every_file_and_test_it_names_is_there():
    for name in re.findall(r"`((?:\w+/)+\w+\.\w+(?:::\w+)?)`", TEXT):
        file, _, test = name.partition("::")
        assert (ROOT / file).is_file(), name
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), name
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
