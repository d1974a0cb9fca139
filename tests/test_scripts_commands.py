import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from scripts.commands import COMMANDS, config_of, documentation, listing, start, summary
from scripts.reference import cli_reference, field_docs, section, values

ROOT = Path(__file__).parents[1]
HELPERS = {"__init__", "__main__", "cli", "commands", "health", "interrupts", "reference"}


def test_every_script_is_a_command_with_a_line_of_its_own_and_an_example():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert set(COMMANDS) == scripts - HELPERS
    assert len(set(COMMANDS)) == len(COMMANDS)
    for command in COMMANDS:
        assert summary(command).endswith("."), command
        assert f"    mergelab {command}" in documentation(command), command


def in_a_process(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize("program", ["scripts", "mergelab"])
def test_without_a_command_all_are_listed(program):
    found = in_a_process("-m", program)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == listing() + "\n"
    for command in COMMANDS:
        assert f"  {command} " in listing()
        assert summary(command) in listing()


@pytest.mark.parametrize(
    ("name", "hint"), [("plan_merge", "did you mean plan_merges?"), ("xyz", "mergelab --help")]
)
def test_a_command_that_is_not_there_is_a_mistake(capsys, name, hint):
    with pytest.raises(SystemExit) as stop:
        start([name, "--out", "a"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: no such command")
    assert hint in line


HEAVY = {"torch", "torchvision", "matplotlib", "numba", "scipy", "jinja2", "pytorch_msssim"}
IMPORTED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    """So that it comes at once: a list of imports does not depend on how fast a machine is."""
    code = f"""
import contextlib, io
from scripts.commands import start
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    start(["{command}", "--help"])
assert "usage: mergelab {command}" in said.getvalue()
{IMPORTED}
"""
    found = in_a_process("-c", code)
    assert found.returncode == 0, found.stderr
    assert not HEAVY & set(found.stdout.split())


def test_planning_for_given_variances_does_without_torch(tmp_path):
    code = f"""
from scripts.commands import start
start("plan_merges --variances 0.5 1.5 --num-steps 3 --out {tmp_path / "run"}".split())
{IMPORTED}
"""
    found = in_a_process("-c", code)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "run" / "plans.json").is_file()
    assert not {"torch", "torchvision"} & set(found.stdout.splitlines()[-1].split())


def test_the_reference_in_docs_is_that_of_the_configs():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == cli_reference(), "run mergelab write_cli_reference"


def test_the_reference_says_nothing_of_the_machine():
    assert str(Path.home()) not in cli_reference()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_the_flags_of_help_and_no_others(command):
    asked = io.StringIO()
    with contextlib.redirect_stdout(asked), pytest.raises(SystemExit):
        tyro.cli(config_of(command), args=["--help"], prog="job")
    # Deeper in stand the meanings, whose wrapped lines may begin with a flag too.
    flags = set(re.findall(r"^\W{0,2}(--[a-z][a-z-]*)", asked.getvalue(), re.MULTILINE))
    table = re.findall(r"^\| `(--[a-z-]+)", section(command), re.MULTILINE)
    assert set(table) == flags
    assert len(table) == len(flags)


def test_a_field_is_described_by_the_class_that_redefines_it():
    docs = field_docs(config_of("study_convergence"))
    assert docs["variances"] == "Data variances lambda, one per panel."
    assert docs["trials"] == "Training runs of every cell."


def test_a_type_that_no_config_has_used_is_not_guessed_at():
    with pytest.raises(TypeError, match="complex"):
        values(complex)
