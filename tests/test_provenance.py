"""Which commit a run is said to be of."""

import importlib.util
import subprocess
from pathlib import Path

import experiment.folder

SOURCE = Path(experiment.folder.__file__)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    run = ["git", *identity, *arguments]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout


def copied_into(folder: Path):
    """The module as it is where its file lies in ``folder``."""
    path = folder / SOURCE.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SOURCE.read_bytes())
    spec = importlib.util.spec_from_file_location("copied", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commit_of(folder: Path) -> str | None:
    return copied_into(folder).provenance("cpu")["git_commit"]


def test_a_checkout_is_named_and_a_changed_one_marked(tmp_path):
    git(tmp_path, "init", "--quiet")
    copied_into(tmp_path / "vae")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "all")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert commit_of(tmp_path / "vae") == head
    with (tmp_path / "vae" / SOURCE.name).open("a") as file:
        file.write("# changed\n")
    assert commit_of(tmp_path / "vae") == f"{head}-dirty"


def test_code_installed_inside_another_checkout_is_not_of_its_commit(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "mine.txt").write_text("another project")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "mine")
    assert commit_of(tmp_path / ".venv" / "site-packages" / "vae") is None


def test_without_a_checkout_or_without_git_there_is_no_commit(tmp_path, monkeypatch):
    assert commit_of(tmp_path / "vae") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert experiment.folder.provenance("cpu")["git_commit"] is None
