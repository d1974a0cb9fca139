"""What the explorer shows of a finished run."""

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("bokeh")

from experiment.folder import RESULTS, open_run, record_lines
from explorer.run_view import _contents


@dataclass(frozen=True)
class Config:
    out: Path


def test_a_table_that_lost_rows_is_shown_and_said_to_be_cut_off(tmp_path):
    open_run(tmp_path / "run", "job", Config(tmp_path / "run"), {}, "cpu")
    table = tmp_path / "run" / RESULTS
    table.write_text("strategy,w2_squared\nvanilla,0.25\nprogressive,0.5\n")
    record_lines(tmp_path / "run")
    assert "cut off" not in _contents(tmp_path / "run", are_open=False)
    table.write_text("strategy,w2_squared\nvanilla,0.25\n")
    shown = _contents(tmp_path / "run", are_open=False)
    assert "vanilla" in shown
    assert "results.csv: cut off: 2 lines are left of 3" in shown
