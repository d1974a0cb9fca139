"""That the checks see all of the code."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from scripts.health import PACKAGES

ROOT = Path(__file__).parents[1]
FOLDERS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}


def settings() -> dict:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]


def test_every_package_is_type_checked_and_installed():
    assert set(settings()["mypy"]["packages"]) == FOLDERS
    build = settings()["hatch"]["build"]
    assert set(build["only-include"]) == FOLDERS - {"benchmarks"}
    inside = build["targets"]["wheel"]["sources"]
    assert inside == {name: f"mergelab/{name}" for name in FOLDERS - {"benchmarks", "mergelab"}}


def test_the_doctor_looks_at_every_embedded_file():
    assert {path.parent.name for path in ROOT.glob("*/pretrained")} == set(PACKAGES)


# Ground floor first: a package may import those before it, and nothing that stands after it.
FLOORS = (
    "experiment",
    "diffusion",
    "planner",
    "vae",
    "sampling",
    "distill",
    "neural",
    "report",
    "explorer",
    "scripts",
)


def imported_packages(path: Path) -> set[str]:
    """Our packages that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name.partition(".")[0] for name in names}
    return found & {*FLOORS, "mergelab", "tests", "benchmarks"}


@pytest.mark.parametrize("package", FLOORS)
def test_imports_point_one_way(package):
    allowed = set(FLOORS[: FLOORS.index(package) + 1])
    if package == "distill":
        allowed.remove("sampling")  # two laboratories side by side
    if package == "vae":
        allowed.remove("planner")
    for path in (ROOT / package).glob("*.py"):
        assert imported_packages(path) <= allowed, path.name


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for package in FLOORS:
        for path in (ROOT / package).glob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            graph[f"{package}.{path.stem}"] = {
                node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module
            }
    known = {name: {other for other in found if other in graph} for name, found in graph.items()}
    tuple(TopologicalSorter(known).static_order())  # raises CycleError


def test_planning_and_the_ground_floor_of_it_know_no_torch():
    for package in ("planner",):
        for path in (ROOT / package).glob("*.py"):
            assert "torch" not in path.read_text(encoding="utf-8"), path.name


def test_the_readme_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for package in FLOORS:
        assert f"{package}/" in text, package


def test_the_tests_command_runs_the_checks():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    assert all(f".venv/bin/{tool}" in recipe for tool in ("ruff check .", "ruff format", "mypy"))
    assert "\ntest: check kernels\n" in makefile
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "make test"
