"""The acceptance run for GPUs: its driver with stages that end in every way, and a rehearsal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_acceptance
from benchmarks.gpu_acceptance import MARGIN, SECONDS, STAGES, Stage, main

ROOT = Path(__file__).parents[1]
ABSENT = ("tyro", "diffusers", "distributed", "pytorch_msssim")


@pytest.fixture
def stages(monkeypatch):
    """Replaces the stages by stubs with these names and estimates."""

    def replace(**estimates: float) -> None:
        made = tuple(Stage(name, seconds, "Why?") for name, seconds in estimates.items())
        monkeypatch.setattr(gpu_acceptance, "STAGES", made)
        monkeypatch.setattr(gpu_acceptance, "MODULE", "tests.acceptance_stub")

    return replace


def report(out: Path) -> dict[str, dict]:
    found = json.loads((out / "acceptance.json").read_text())
    return {result["stage"]: result for result in found}


def test_every_stage_has_a_verdict_and_what_it_found_before_it_ended(stages, tmp_path):
    stages(sound=9.0, slow=9.0, broken=9.0, hanging=0.5, long=1200.0, last=9.0)
    assert main(["--out", str(tmp_path)]) == 1
    found = report(tmp_path)
    assert {name: result["status"] for name, result in found.items()} == {
        "sound": "passed",
        "slow": "failed",
        "broken": "error",
        "hanging": "timed out",
        "long": "not run",
        "last": "passed",
    }
    assert found["hanging"]["numbers"] == {"speed": 1.5}
    assert "illegal memory access" in found["broken"]["error"]
    assert "illegal memory access" in (tmp_path / "acceptance.md").read_text()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "hanging.json" not in running  # its children ended with it


def test_the_report_is_written_anew_after_every_stage(stages, tmp_path, monkeypatch):
    stages(sound=9.0, broken=9.0, last=9.0)
    seen = []
    run_stage = gpu_acceptance.run_stage

    def spy(result, out, *arguments):
        seen.append([one["status"] for one in report(out).values()] if seen else [])
        run_stage(result, out, *arguments)

    monkeypatch.setattr(gpu_acceptance, "run_stage", spy)
    main(["--out", str(tmp_path)])
    assert seen == [[], ["passed", "not run", "not run"], ["passed", "error", "not run"]]


def test_stages_that_no_time_is_left_for_are_no_failure(stages, tmp_path):
    stages(sound=5.0, last=100.0)
    assert main(["--out", str(tmp_path), "--seconds", "30"]) == 0
    assert report(tmp_path)["last"]["status"] == "not run"


def test_the_estimates_of_all_stages_fit_the_time_for_everything():
    assert sum(stage.seconds for stage in STAGES) <= SECONDS - MARGIN


def test_a_rehearsal_runs_every_stage_without_the_packages_that_a_gpu_machine_lacks(tmp_path):
    blocked, out = tmp_path / "blocked", tmp_path / "out"
    blocked.mkdir()
    for name in ABSENT:
        (blocked / f"{name}.py").write_text("raise ImportError('not installed there')\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.gpu_acceptance",
            "--out",
            str(out),
            "--rehearse",
            "--seconds",
            "1200",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(blocked), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    found = report(out)
    errors = {name: one["error"] for name, one in found.items() if one["status"] != "passed"}
    assert not errors, errors
    assert done.returncode == 0
    assert list(found) == [stage.name for stage in STAGES]
    assert all(result["gates"] for result in found.values())
    assert len(list(out.iterdir())) <= 8
    assert "A rehearsal on the CPU" in (out / "acceptance.md").read_text()
