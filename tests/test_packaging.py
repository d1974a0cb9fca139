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
from tests.conftest import draw_image

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
    # A copy, as a build must not depend on files that git ignores.
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


FLAGS = "--num-steps 2 --steps-per-merge 2 --batch-size 64 --num-images 2 --device cpu"
SMALL = FLAGS.split()


def test_the_main_job_runs_from_another_folder_without_network(site, elsewhere):
    done = offline(site, elsewhere, "mergelab", "compare_strategies", "--out", "run", *SMALL)
    assert done.returncode == 0, done.stderr
    with (elsewhere / "run" / "results.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) >= 6
    made = read_run(elsewhere / "run")["provenance"]
    assert made["git_commit"] is None
    assert made["versions"]["mergelab"] == version()
    assert "not a git checkout" in (elsewhere / "run" / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["compare_strategies", "encode_latents"])
def test_the_installed_command_works_among_folders_of_the_same_names(site, tmp_path, command):
    """Both start processes, which import our packages anew."""
    for name in ("diffusion", "planner", "scripts", "vae"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('of another project')")
    for name in ("distill", "experiment", "report", "sampling"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of another project')")
    (tmp_path / "faces").mkdir()
    for i in range(30):
        draw_image(i).save(tmp_path / "faces" / f"{i}.png")
    arguments = {
        "compare_strategies": [*SMALL, "--engine", "sgd", "--workers", "2"],
        "encode_latents": ["--data", "faces", "--cache", "cache", "--device", "cpu"],
    }[command]
    done = subprocess.run(
        [sys.executable, site / "bin" / "mergelab", command, *arguments, "--out", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f".:{site}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results.csv").is_file()
    assert read_run(tmp_path / "run")["provenance"]["command"].startswith(f"mergelab {command} ")


def test_the_package_plans_from_python_and_hides_no_module_of_the_user(site, tmp_path):
    (tmp_path / "plans.py").write_text("mine = [0.5, 1.1]")
    (tmp_path / "caller.py").write_text(
        "import mergelab as ml\nimport plans\nprint(ml.plan(plans.mine, num_steps=3).best)\n"
        "print(ml.plan(plans.mine, num_steps=3).train(progress=False).sample(count=2).shape)"
    )
    done = offline(site, tmp_path, "caller")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[1:] == ["(2, 2)", ""]


def test_the_bar_to_the_network_bars(site, elsewhere):
    (elsewhere / "caller.py").write_text("import socket; socket.create_connection(('::1', 9))")
    done = offline(site, elsewhere, "caller")
    assert "network use: socket.getaddrinfo" in done.stderr


def test_the_wheel_holds_the_models_the_licences_one_package_and_no_tests(site):
    for home in ("vae", "sampling"):
        models = list(examine_files(site / "mergelab" / home / "pretrained"))
        assert len(models) == len(list((ROOT / home / "pretrained").glob("*.safetensors"))) > 0
        assert not any(model.wrong for model in models)
    (info,) = site.glob("mergelab-*.dist-info")
    assert {path.name for path in info.glob("licenses/*")} == {"LICENSE", "NOTICE"}
    tops = {path.name for path in site.iterdir()} - {info.name}
    assert tops == {"bin", "mergelab"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    for package in packages - {"tests", "benchmarks", "mergelab"}:
        ours = {path.name for path in (ROOT / package).glob("*.py")}
        assert ours == {path.name for path in (site / "mergelab" / package).glob("*.py")}, package


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
