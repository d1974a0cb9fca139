import ast
from pathlib import Path

import pytest

from experiment.progress import bars_shown, tqdm

ROOT = Path(__file__).parents[1]


def test_bars_are_drawn_except_where_they_are_switched_off(capsys):
    def draw() -> str:
        assert list(tqdm([1, 2], "work")) == [1, 2]
        return capsys.readouterr().err

    assert "work" in draw()
    with bars_shown(False):
        assert draw() == ""
        with bars_shown(True):
            assert "work" in draw()
        assert draw() == ""
    with pytest.raises(KeyError), bars_shown(False):
        raise KeyError
    assert "work" in draw()


def test_a_bar_that_its_caller_disables_stays_so(capsys):
    assert list(tqdm([1], "work", disable=True)) == [1]
    assert capsys.readouterr().err == ""


def test_every_bar_obeys_the_switch():
    for path in ROOT.glob("*/*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        sources = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert "tqdm" not in sources or path.parent.name == "tests" or path.stem == "progress", path
