"""Exported students: what the files give without mergelab is what the comparison measured."""

import re
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from distill.compare_strategies import compare_strategies
from distill.comparison import open_comparison
from distill.config import ExportConfig
from distill.decode import decode_operator, noise_bank
from distill.export_student import export_student, find_case
from distill.jobs import Case
from experiment.folder import open_run
from experiment.write import sha256
from neural.config import NeuralConfig
from planner.budget import Stage
from report.export import report_export
from tests.conftest import make_model_run, small_comparison

ASKED = {"strategy": "progressive", "budget": "per_merge", "steps_per_merge": 2, "student_steps": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished comparison of students of one and of two steps: its folder and its VAE."""
    folder = tmp_path_factory.mktemp("export")
    made = make_model_run(folder, image_size=32)
    config = small_comparison(folder / "run", made, student_steps=(1, 2), workers=1)
    compare_strategies(config)
    return config.out, made[0]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The folder of an exported student, and what it is to give: noise, latents, images."""
    out = tmp_path_factory.mktemp("student") / "out"
    config = ExportConfig(run=run[0], vae=run[1], out=out, **ASKED)
    report_export(out, export_student(config))
    comparison = open_comparison(*run, "cpu")
    students = comparison.students[Case("progressive", Stage("per_merge", 2, 2), 0)]
    noise = noise_bank(7, 0, 5, len(comparison.mean))
    latents = comparison.mean + torch.from_numpy(students.operator) * noise.double()
    images = decode_operator(comparison.model, students.operator, comparison.mean, noise)
    return out, noise, latents, images


def test_the_printed_python_draws_the_same_images_without_mergelab(exported, tmp_path):
    out, noise, latents, images = exported
    summary = (out / "summary.md").read_text(encoding="utf-8")
    use, loader = re.findall(r"```python\n(.*?)```", summary, re.DOTALL)
    assert loader == (out / "student.py").read_text(encoding="utf-8")
    assert len(loader.splitlines()) <= 15
    for name in ("student.safetensors", "decoder.pt2"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    (tmp_path / "student.py").write_text(loader)
    torch.save(noise, tmp_path / "noise.pt")
    code = use.replace("torch.randn(8, len(student.mean))", 'torch.load("noise.pt")') + (
        'torch.save((latents, images), "found.pt")\n'
        "import sys\n"
        'assert not {"distill", "experiment", "mergelab", "vae"} & set(sys.modules)'
    )
    assert code != use
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    torch.testing.assert_close(found[0].double(), latents, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1], images, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5])
def test_the_program_takes_any_number_of_rows(exported, count):
    out, noise, latents, _ = exported
    program = torch.export.load(out / "student.pt2").module()
    found = program(noise[:count])
    torch.testing.assert_close(found.double(), latents[:count], rtol=1e-6, atol=1e-6)


def test_the_file_says_where_the_student_comes_from(run, exported):
    with safe_open(exported[0] / "student.safetensors", framework="pt") as file:
        facts = file.metadata()
    assert {name: facts[name] for name in ASKED} == {k: str(v) for k, v in ASKED.items()}
    assert facts["comparison_sha256"] == sha256(run[0] / "comparison.safetensors")
    assert facts["vae_sha256"] == sha256(run[1] / "vae.safetensors")
    assert (facts["schedule"], facts["num_steps"]) == ("cosine", "4")


CASES = [
    Case(strategy, Stage(budget, 10), seed)
    for strategy in ("vanilla", "greedy")
    for budget in ("per_merge", "total")
    for seed in (0, 1)
]


def asked(tmp_path, **flags) -> ExportConfig:
    return ExportConfig(run=tmp_path, out=tmp_path / "out", **flags)


def test_flags_may_be_left_out_where_the_run_has_one_value(tmp_path):
    config = asked(tmp_path, strategy="greedy", budget="total", seed=1)
    assert find_case(config, CASES) == CASES[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--strategy is missing: .* has students of vanilla, greedy; give one"),
        ({"strategy": "boot"}, "--strategy boot: .* has students of vanilla, greedy; give one"),
        ({"strategy": "greedy", "budget": "total"}, "--seed is missing: .* of 0, 1; give one"),
        (
            {"strategy": "greedy", "budget": "total", "steps_per_merge": 100},
            "--steps-per-merge 100: .* has students of 10; give one",
        ),
    ],
)
def test_a_student_that_is_not_there_or_not_named_is_told(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        find_case(asked(tmp_path, **flags), CASES)


def test_a_run_of_neural_students_is_sent_to_its_own_flag(tmp_path):
    config = NeuralConfig(out=tmp_path / "run")
    open_run(config.out, "distill_neural", config, {}, "cpu")
    with pytest.raises(ValueError, match=r"exports its students itself; repeat .* with --export"):
        export_student(ExportConfig(run=config.out, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
