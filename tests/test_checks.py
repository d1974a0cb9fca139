"""That the checks see all of the code."""

import tomllib
from pathlib import Path

from scripts.health import PACKAGES

ROOT = Path(__file__).parents[1]
FOLDERS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}


def settings() -> dict:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]


def test_every_package_is_type_checked_and_installed():
    assert set(settings()["mypy"]["packages"]) == FOLDERS
    assert set(settings()["setuptools"]["packages"]) == FOLDERS - {"benchmarks"}


def test_every_embedded_file_is_installed_and_looked_at_by_the_doctor():
    homes = {path.parent.name for path in ROOT.glob("*/pretrained")}
    assert homes <= set(PACKAGES)
    for home in homes:
        assert settings()["setuptools"]["package-data"][home] == ["pretrained/*"]


def test_the_tests_command_runs_the_checks():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    assert all(f".venv/bin/{tool}" in recipe for tool in ("ruff check .", "ruff format", "mypy"))
    assert "\ntest: check\n" in makefile
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "make test"
