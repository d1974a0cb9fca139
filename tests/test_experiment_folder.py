import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiment.folder import (
    CONFIG,
    LOCK,
    only_writer,
    open_run,
    read_run,
    record_lines,
    refuse_cut_off,
)
from experiment.metrics import METRICS, keep_rows, read_metrics
from experiment.write import recorded_as, write_rows
from vae.config import EncodeConfig

HOLDS = """
import sys
from pathlib import Path
from experiment.folder import only_writer
with only_writer(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


KILLED_AT_ITS_RECORD = """
import os, sys
from pathlib import Path
from experiment.folder import open_run
from vae.config import EncodeConfig
os.replace = lambda *names: os._exit(9)
out = Path(sys.argv[1])
open_run(out, "encode_latents", EncodeConfig(data=out, out=out), {}, "cpu")
"""


def test_a_run_that_was_killed_while_it_wrote_its_record_begins_again(tmp_path):
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_ITS_RECORD, out])
    assert killed.returncode == 9
    assert [path.suffix for path in out.iterdir()] == [".tmp"]
    assert not open_run(out, "encode_latents", EncodeConfig(data=out, out=out), {}, "cpu")
    assert [path.name for path in out.iterdir()] == [CONFIG]


def test_a_folder_is_refused_while_another_process_holds_it_and_free_once_that_is_killed(tmp_path):
    folder = tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.csv").write_text("mine")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"holds\n"
        with pytest.raises(ValueError, match="another run is at work in it"), only_writer(folder):
            pass
        other.kill()
    with only_writer(folder):
        pass
    assert {path.name for path in folder.iterdir()} == {LOCK, "results.csv"}


def test_a_folder_that_nothing_was_made_of_goes_with_its_parents(tmp_path):
    with pytest.raises(KeyError), only_writer(tmp_path / "runs" / "a"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with only_writer(tmp_path / "runs" / "b"):
        (tmp_path / "runs" / "b" / "results.csv").touch()
    assert (tmp_path / "runs" / "b" / "results.csv").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").touch()
    for folder in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises((ValueError, OSError), match="run"), only_writer(folder):
            pass


def test_what_a_killed_run_left_goes_but_not_what_a_run_inside_is_writing(tmp_path):
    config = EncodeConfig(data=tmp_path, out=tmp_path / "outer")
    inner = tmp_path / "outer" / "grids" / "inner"
    for out in (config.out, inner):
        open_run(out, "job", config, {}, "cpu")
        (out / "figures").mkdir()
        (out / "figures" / ".faces.png.1.tmp").touch()
    open_run(config.out, "job", config, {}, "cpu")
    assert list(config.out.rglob("*.tmp")) == [inner / "figures" / ".faces.png.1.tmp"]
    open_run(inner, "job", config, {}, "cpu")
    assert not list(config.out.rglob("*.tmp"))


@dataclass(frozen=True)
class Old:
    out: Path
    epochs: int = 3
    engine: str = "exact"


@dataclass(frozen=True)
class New:
    """The same flags under other names."""

    out: Path
    steps_per_merge: int = field(default=3, metadata=recorded_as("epochs"))
    engine: str = field(default="closed_form", metadata=recorded_as("engine", closed_form="exact"))


def test_a_run_goes_on_after_its_flags_were_renamed_and_another_is_still_refused(tmp_path):
    out = tmp_path / "run"
    assert not open_run(out, "job", Old(out), {}, "cpu")
    assert open_run(out, "job", New(out), {}, "cpu")
    assert json.loads((out / CONFIG).read_text())["config"] == {"epochs": 3, "engine": "exact"}
    for other in (New(out, steps_per_merge=4), New(out, engine="sgd")):
        with pytest.raises(ValueError, match="holds another run's results"):
            open_run(out, "job", other, {}, "cpu")
    again = tmp_path / "again"
    open_run(again, "job", New(again), {}, "cpu")
    assert open_run(again, "job", Old(again), {}, "cpu")


def test_a_table_keeps_its_columns_after_its_fields_were_renamed(tmp_path):
    rows = [New(Path("a")), New(Path("b"), steps_per_merge=7, engine="sgd")]
    write_rows(tmp_path / "results.csv", rows, New)
    assert (tmp_path / "results.csv").read_text() == "out,epochs,engine\na,3,exact\nb,7,sgd\n"


@pytest.fixture
def finished(tmp_path):
    """A finished run with a table and a record of a training, of three rows each."""
    out = tmp_path / "run"
    open_run(out, "job", New(out), {}, "cpu")
    write_rows(out / "results.csv", [New(Path(name)) for name in "abc"], New)
    (out / METRICS).write_text("".join(f'{{"epoch": {i}}}\n' for i in (1, 2, 3)))
    record_lines(out)
    return out


def cut(path, lines=1):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


@pytest.mark.parametrize("name", ["results.csv", METRICS])
def test_a_finished_table_that_lost_rows_is_refused(finished, name):
    refuse_cut_off(finished / name)
    whole = (finished / name).read_bytes().count(b"\n")
    cut(finished / name)
    with pytest.raises(ValueError, match=f"cut off: {whole - 1} lines are left of {whole}"):
        refuse_cut_off(finished / name)
    record_lines(finished)  # as the command does once it has written the table again
    refuse_cut_off(finished / name)


def test_a_table_that_a_spreadsheet_has_saved_again_is_not_cut_off(finished):
    rows = (finished / "results.csv").read_text()
    (finished / "results.csv").write_text("\ufeff" + rows.replace("\n", "\r\n"), newline="")
    refuse_cut_off(finished / "results.csv")


def test_tables_of_unfinished_runs_of_earlier_versions_and_of_no_run_pass(finished, tmp_path):
    record = read_run(finished)
    del record["lines"]
    (finished / CONFIG).write_text(json.dumps(record))
    cut(finished / "results.csv")
    refuse_cut_off(finished / "results.csv")
    (tmp_path / "published.csv").write_text("T,lambda\n")
    refuse_cut_off(tmp_path / "published.csv")


def test_the_record_of_a_training_that_lost_rows_is_refused(finished):
    assert len(read_metrics(finished, ["epoch"])) == 3
    cut(finished / METRICS)
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl: .*cut off: 2 lines are left of 3\); give"
    ):
        read_metrics(finished, ["epoch"])


def test_a_training_does_not_resume_with_a_record_that_ends_before_what_was_saved(finished):
    keep_rows(finished / METRICS, "epoch", 2)  # the third row was not saved
    assert (finished / METRICS).read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    for said in ("ends with epoch 1", "holds no row"):
        cut(finished / METRICS)
        with pytest.raises(ValueError, match=f"{said}, and the training was saved at 2.; remove"):
            keep_rows(finished / METRICS, "epoch", 2)
    (finished / METRICS).write_text('{"epoch": 3}\n')  # begun anew after it was removed
    keep_rows(finished / METRICS, "epoch", 2)
    (finished / METRICS).unlink()
    keep_rows(finished / METRICS, "epoch", 2)
