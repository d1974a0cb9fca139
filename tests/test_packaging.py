"""The package as a stranger installs it: a wheel, in another folder, with no network."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiment.folder import read_run
from scripts.health import examine_files

ROOT = Path(__file__).parents[1]
NOT_PACKAGED = shutil.ignore_patterns(".*", "build", "runs", "tests", "*.egg-info", "__pycache__")
# Runs a module with every way to the network barred, as Python itself reports it.
OFFLINE = """
import runpy, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        raise RuntimeError(f"network use: {event} {arguments}")

sys.addaudithook(refuse)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the built wheel installed, and nothing else."""
    folder = tmp_path_factory.mktemp("packaging")
    # Setuptools builds in the source folder, where leftovers of another build would get in.
    source = shutil.copytree(ROOT, folder / "source", ignore=NOT_PACKAGED)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--no-compile", "--target", folder / "site"]
    subprocess.run([*pip, *install, wheel], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """An empty folder to stand in."""
    return tmp_path_factory.mktemp("elsewhere")


def offline(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_main_job_runs_from_another_folder_without_network(site, elsewhere):
    small = "--num-steps 2 --epochs 2 --batch-size 64 --num-images 2 --device cpu"
    done = offline(site, elsewhere, "scripts.compare_strategies", "--out", "run", *small.split())
    assert done.returncode == 0, done.stderr
    with (elsewhere / "run" / "results.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) >= 6
    made = read_run(elsewhere / "run")["provenance"]
    assert made["git_commit"] is None
    assert made["versions"]["mergelab"] == version()
    assert "not a git checkout" in (elsewhere / "run" / "summary.md").read_text(encoding="utf-8")


def test_the_bar_to_the_network_bars(site, elsewhere):
    (elsewhere / "caller.py").write_text("import socket; socket.create_connection(('::1', 9))")
    done = offline(site, elsewhere, "caller")
    assert "network use: socket.getaddrinfo" in done.stderr


def test_the_wheel_holds_the_models_the_licences_and_no_tests(site):
    for home in ("vae", "sampling"):
        models = list(examine_files(site / home / "pretrained"))
        assert len(models) == len(list((ROOT / home / "pretrained").glob("*.safetensors"))) > 0
        assert not any(model.wrong for model in models)
    (info,) = site.glob("mergelab-*.dist-info")
    assert {path.name for path in info.glob("licenses/*")} == {"LICENSE", "NOTICE"}
    tops = {path.name for path in site.iterdir() if not path.name.startswith("mergelab-")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert tops == packages
    for package in packages:
        missing = {p.name for p in (ROOT / package).glob("*.py")} - {
            p.name for p in (site / package).glob("*.py")
        }
        assert not missing, package


def version() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["version"]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## ([\d.]+)")],
)
def test_one_version_stands_everywhere(file, pattern):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(pattern, text, re.MULTILINE)[1] == version()
