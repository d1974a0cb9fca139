import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiment.folder import CONFIG, LOCK, only_writer, open_run
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
