import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from scripts.commands import find_jobs
from scripts.reference import cli_reference, field_docs, section, values

ROOT = Path(__file__).parents[1]
HELPERS = {"__init__", "__main__", "cli", "commands", "health", "reference"}
JOBS = find_jobs()


def test_every_script_is_a_job_with_a_line_of_its_own_and_an_example():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert {job.name for job in JOBS} == scripts - HELPERS
    for job in JOBS:
        assert job.summary.endswith("."), job.name
        assert f"python -m scripts.{job.name}" in job.doc, job.name


def test_the_list_of_jobs_names_them_all():
    listed = subprocess.run(
        [sys.executable, "-m", "scripts"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for job in JOBS:
        assert f"  {job.name} " in listed
        assert job.summary in listed


def test_a_job_in_the_place_of_a_flag_is_a_mistake():
    asked = [sys.executable, "-m", "scripts", "plan_merges"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT)
    assert found.returncode == 2
    assert "python -m scripts.JOB" in found.stderr


def test_the_reference_in_docs_is_that_of_the_configs():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == cli_reference(), "run python -m scripts.write_cli_reference"


def test_the_reference_says_nothing_of_the_machine():
    assert str(Path.home()) not in cli_reference()


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_reference_has_the_flags_of_help_and_no_others(job):
    asked = io.StringIO()
    with contextlib.redirect_stdout(asked), pytest.raises(SystemExit):
        tyro.cli(job.config(), args=["--help"], prog="job")
    # Deeper in stand the meanings, whose wrapped lines may begin with a flag too.
    flags = set(re.findall(r"^\W{0,2}(--[a-z][a-z-]*)", asked.getvalue(), re.MULTILINE))
    table = re.findall(r"^\| `(--[a-z-]+)", section(job), re.MULTILINE)
    assert set(table) == flags
    assert len(table) == len(flags)


def test_a_field_is_described_by_the_class_that_redefines_it():
    config = next(job for job in JOBS if job.name == "study_convergence").config()
    docs = field_docs(config)
    assert docs["variances"] == "Data variances lambda, a panel each."
    assert docs["trials"] == "Training runs of every cell."


def test_a_type_that_no_config_has_used_is_not_guessed_at():
    with pytest.raises(TypeError, match="complex"):
        values(complex)
