"""Text files: what was written is what is read."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.schedule_choice import read_schedule
from distill.published import COLUMNS, OUR_NAMES, read_published
from experiment.folder import open_run, read_run
from experiment.write import write_json, write_rows
from planner.plan_file import read_plans, to_json
from sampling.compare_samplers import REFERENCES, ROWS, CompareRow, read_rows
from tests.damage import READER
from tests.test_planner_plan_set import some_plan_set
from vae.images import read_partition


@dataclass(frozen=True)
class RunConfig:
    seed: int
    name: str


@READER
@given(some_plan_set())
def test_plans_are_read_as_written(tmp_path, plan_set):
    write_json(tmp_path / "plans.json", to_json(plan_set))
    assert to_json(read_plans(tmp_path / "plans.json")) == to_json(plan_set)


@READER
@given(st.lists(st.floats(1e-3, np.pi / 2 - 1e-3), unique=True, max_size=20))
def test_a_schedule_is_read_as_written(tmp_path, angles):
    angle = np.array([0.0, *sorted(angles), np.pi / 2])
    alpha, sigma = np.cos(angle), np.sin(angle)
    alpha[-1] = 0.0
    if (np.diff(alpha) < 0).all() and (np.diff(sigma) > 0).all():
        value = {"alpha": alpha.tolist(), "sigma": sigma.tolist()}
        write_json(tmp_path / "schedule.json", value)
        found = read_schedule(tmp_path / "schedule.json")
        np.testing.assert_array_equal([found.alpha, found.sigma], [alpha, sigma])


NUMBERS = st.floats(0, 1e300)


@READER
@given(st.data())
def test_rows_of_samplers_are_read_as_written(tmp_path, data):
    keys = sorted(REFERENCES) + data.draw(st.lists(st.sampled_from(sorted(ROWS)), unique=True))
    rows = [
        CompareRow(
            *key,
            data.draw(NUMBERS),
            data.draw(st.none() | NUMBERS),
            data.draw(NUMBERS),
            data.draw(st.none() | NUMBERS),
        )
        for key in dict.fromkeys(keys)
    ]
    write_rows(tmp_path / "compare.csv", rows, CompareRow)
    assert read_rows(tmp_path / "compare.csv") == rows


CELL_KEYS = st.tuples(st.integers(1, 2**40), NUMBERS, st.sampled_from(sorted(OUR_NAMES)))


def cell_of(key):
    return *key[:2], OUR_NAMES[key[2]]


@READER
@given(st.lists(CELL_KEYS, max_size=5, unique_by=cell_of), st.data())
def test_a_published_table_is_read_as_written(tmp_path, keys, data):
    finite = st.floats(allow_nan=False, allow_infinity=False)
    rows = [(*k, data.draw(finite), data.draw(st.floats(1e-300, 1e300))) for k in keys]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    cells = read_published(tmp_path / "table.csv")
    found = [(c.num_steps, c.variance, c.strategy, c.mean, c.std) for c in cells]
    assert found == [(*cell_of(row), *row[3:]) for row in rows]


FILE_NAMES = st.from_regex(r"[0-9a-z_-]{1,12}\.jpg", fullmatch=True)


@pytest.mark.parametrize(("suffix", "between"), [(".txt", " "), (".csv", ",")])
@READER
@given(st.dictionaries(FILE_NAMES, st.integers(0, 2)))
def test_a_partition_is_read_as_written(tmp_path, suffix, between, splits):
    path = tmp_path / f"partition{suffix}"
    path.write_text("".join(f"{name}{between}{split}\n" for name, split in splits.items()))
    assert read_partition(path) == splits


@READER
@given(st.integers(0), st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.text()))
def test_the_record_of_a_run_is_read_as_written(tmp_path_factory, seed, name, inputs):
    out = tmp_path_factory.mktemp("run") / "run"
    config = RunConfig(seed=seed, name=name)
    assert not open_run(out, "a_job", config, inputs, "cpu")
    record = read_run(out)
    assert (record["config"], record["inputs"]) == ({"seed": seed, "name": name}, inputs)
    assert open_run(out, "a_job", config, inputs, "cpu")
