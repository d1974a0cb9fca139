"""Readers of JSON, CSV and other text: damage is told in one line, or harmless."""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.schedule import TeacherSchedule, cosine_schedule
from diffusion.schedule_choice import read_schedule
from distill.published import read_published
from experiment.folder import describe_run, open_run
from experiment.metrics import keep_rows, read_metrics
from experiment.read import reading
from planner.plan import merges
from planner.plan_file import from_json, read_plans, to_json
from sampling.compare_samplers import REFERENCES, ROWS, CompareRow, read_rows
from scripts.health import read_sums
from tests.damage import READER, UTF8_BOM, damaged, outcome, spoilt_json, spoilt_table
from tests.test_planner_plan_set import written
from vae.cache import read_cache_index, read_progress
from vae.images import read_partition

SCHEDULE = cosine_schedule(4)
PARTITION = b"".join(b"%06d.jpg %d\n" % (i, i % 3) for i in range(1, 9))
EPOCHS = b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.4}\n{"epoch": 3, "loss": 0.3}\n'


@dataclass(frozen=True)
class RunConfig:
    data: Path = Path("images")
    seed: int = 0
    name: str = "a"


def some_progress(path):
    """The progress beside three decoded images of side 32."""
    with path.with_name("images.part").open("wb+") as partial:
        partial.write(bytes(3 * 3 * 32**2))
        partial.flush()
        return read_progress(path, partial, 32)


def kept_rows(path):
    keep_rows(path, "epoch", 2)
    with reading(path, "a record", "begin again"):  # an absent one stays absent
        return path.read_text()


def as_json(value):
    return json.dumps(value).encode()


def a_record(folder):
    open_run(folder, "a_job", RunConfig(), {"data": "ab"}, "cpu", {"threads": 1})
    return (folder / "config.json").read_bytes()


def some_rows():
    rows = [CompareRow(name, steps, 0.25, None, 1.5) for name, steps in sorted(ROWS)]
    return sorted(rows, key=lambda row: (row.name, row.steps) not in REFERENCES)


def table(rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(CompareRow)])
    writer.writerows([getattr(row, field.name) for field in fields(row)] for row in rows)
    return text.getvalue().encode()


def plans_are_whole(plan_set):
    assert plan_set.num_steps >= 1
    assert (plan_set.variances >= 0).all()
    again = json.loads(json.dumps(to_json(plan_set), allow_nan=False))
    for name, found in from_json(again).strategies.items():
        assert Path(name).name == name
        for plan in found.plans:
            assert (plan.start, plan.stop) == (plan_set.num_steps, 0)
            assert all(jump.parts for jump in merges(plan))


def cells_are_numbers(cells):
    assert len({(c.num_steps, c.variance, c.strategy) for c in cells}) == len(cells)
    for cell in cells:
        assert cell.std > 0
        assert all(map(math.isfinite, (cell.variance, cell.mean, cell.std)))


def rows_are_numbers(rows):
    assert len({(row.name, row.steps) for row in rows}) == len(rows)
    assert all(math.isfinite(row.w2) and math.isfinite(row.milliseconds) for row in rows)


def index_is_whole(found):
    assert len(found[1]) == 64
    assert all(isinstance(why, str) for why in found[0].values())


READERS = {  # name -> reader, a whole file, what holds for all that is read
    "plans.json": (read_plans, as_json(written()), plans_are_whole),
    "schedule.json": (
        read_schedule,
        as_json({"alpha": SCHEDULE.alpha.tolist(), "sigma": SCHEDULE.sigma.tolist()}),
        lambda found: TeacherSchedule(found.alpha, found.sigma),
    ),
    "config.json": (lambda path: describe_run(path.parent), None, lambda lines: "".join(lines)),
    "index.json": (
        read_cache_index,
        as_json({"sha256": "0a" * 32, "unreadable": {"a.jpg": "OSError: cut off"}}),
        index_is_whole,
    ),
    "progress.json": (
        some_progress,
        as_json({"done": 4, "unreadable": {"a.jpg": "OSError: cut off"}}),
        lambda found: found[0] - len(found[1]) in range(4) or pytest.fail("not so many there"),
    ),
    "published.csv": (
        read_published,
        b"T,lambda,strategy,mean,std\n32,0.5,boot,1e-4,2e-5\n32,0.5,vanilla,-1,0.5\n",
        cells_are_numbers,
    ),
    "compare.csv": (read_rows, table(some_rows()), rows_are_numbers),
    "partition.txt": (read_partition, PARTITION, lambda found: {0, 1, 2} >= set(found.values())),
    "partition.csv": (
        read_partition,
        b"image_id,partition\n" + PARTITION.replace(b" ", b","),
        lambda found: {0, 1, 2} >= set(found.values()),
    ),
    "SHA256SUMS": (
        read_sums,
        b"".join(b"%064x  file_%d.safetensors\n" % (i, i) for i in range(3)),
        lambda found: all(Path(name).name == name for name in found),
    ),
    "metrics.jsonl": (
        lambda path: read_metrics(path.parent, ["epoch", "loss"]),
        EPOCHS,
        lambda rows: all(isinstance(row["loss"], int | float) for row in rows),
    ),
    "lines.jsonl": (kept_rows, EPOCHS, lambda text: text.count("\n") <= 2),
}
JSON_NAMES = [name for name in READERS if name.endswith(".json")]
CSV_NAMES = [name for name in READERS if name.endswith(".csv")]


def told_or_harmless(name, path, content):
    path.write_bytes(content)
    found = outcome(READERS[name][0], path)
    if found is not None:
        assert READERS[name][2](found) is not False


@pytest.mark.parametrize("name", READERS)
@READER
@given(data=st.data())
def test_damaged_bytes_are_told_or_harmless(name, tmp_path, data):
    whole = READERS[name][1] or a_record(tmp_path / "run")
    told_or_harmless(name, tmp_path / name, data.draw(damaged(whole)))


@pytest.mark.parametrize("name", JSON_NAMES)
@READER
@given(data=st.data())
def test_spoilt_json_is_told_or_harmless(name, tmp_path, data):
    whole = json.loads(READERS[name][1] or a_record(tmp_path / "run"))
    told_or_harmless(name, tmp_path / name, data.draw(spoilt_json(whole)))


@pytest.mark.parametrize("name", CSV_NAMES)
@READER
@given(data=st.data())
def test_a_spoilt_table_is_told_or_harmless(name, tmp_path, data):
    told_or_harmless(name, tmp_path / name, data.draw(spoilt_table(READERS[name][1])))


@pytest.mark.parametrize("name", READERS)
def test_every_cut_is_told_or_harmless(name, tmp_path):
    whole = READERS[name][1] or a_record(tmp_path / "run")
    for end in range(0, len(whole), 1 + len(whole) // 200):
        told_or_harmless(name, tmp_path / name, whole[:end])


@pytest.mark.parametrize("name", READERS)
def test_nothing_and_a_folder_are_told_but_a_mark_or_other_line_ends_are_harmless(name, tmp_path):
    read, whole, _ = READERS[name]
    whole = whole or a_record(tmp_path / "run")
    path = tmp_path / name
    assert not outcome(read, path)
    path.mkdir()
    assert outcome(read, path) is None
    path.rmdir()
    path.write_bytes(whole)
    expected = without_fingerprint(repr(read(path)))
    for same in (UTF8_BOM + whole, whole.replace(b"\n", b"\r\n")):
        path.write_bytes(same)
        found = without_fingerprint(repr(read(path)))
        assert found.replace("\\ufeff", "").replace("\\r", "") == expected


def without_fingerprint(text: str) -> str:
    """A schedule from a file is named after the bytes of the file."""
    return re.sub(r"name='file [0-9a-f]+'", "", text)
