"""A finished comparison whose files are damaged, one at a time, is told when it is opened."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.compare_strategies import compare_strategies
from distill.comparison import INDEX_NAME, PLANS, STUDENTS, open_comparison
from distill.config import CompareConfig
from tests.conftest import make_model_run
from tests.damage import READER, damaged, outcome, spoilt_json, spoilt_safetensors

SOME = settings(READER, max_examples=10)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small finished comparison: its folder and its VAE."""
    folder = tmp_path_factory.mktemp("comparison")
    vae, latents = make_model_run(folder, image_size=32)
    config = CompareConfig(
        out=folder / "run",
        vae=vae,
        latents=latents,
        num_steps=3,
        steps_per_merge=(2,),
        budgets=("per_merge",),
        engine="closed_form",
        batch_size=64,
        num_images=2,
        workers=1,
        device="cpu",
    )
    compare_strategies(config)
    return config.out, vae


def assert_told_or_harmless(run, name, content):
    """Open the comparison with other content in one of its files, which is put back."""
    out, vae = run
    path = out / name
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        found = outcome(lambda folder: open_comparison(folder / out.name, vae, "cpu"), out.parent)
        if found is not None:
            for case, students in found.students.items():
                plans = found.plans[case.stage].strategies[case.strategy].plans
                assert len(plans) == len(students.operator) == found.problem.operators.shape[1]
                assert {plan.start for plan in plans} == {found.problem.schedule.num_steps}
    finally:
        path.write_bytes(whole)


@SOME
@given(data=st.data())
def test_a_spoilt_record_is_told_or_harmless(run, data):
    record = json.loads((run[0] / "config.json").read_text())
    assert_told_or_harmless(run, "config.json", data.draw(spoilt_json(record)))


@SOME
@given(data=st.data())
def test_spoilt_plans_are_told_or_harmless(run, data):
    path = next((run[0] / PLANS).iterdir())
    content = data.draw(spoilt_json(json.loads(path.read_text())) | damaged(path.read_bytes()))
    assert_told_or_harmless(run, f"{PLANS}/{path.name}", content)


@SOME
@given(data=st.data())
def test_a_spoilt_index_is_told_or_harmless(run, data):
    content = data.draw(spoilt_safetensors((run[0] / INDEX_NAME).read_bytes()))
    assert_told_or_harmless(run, INDEX_NAME, content)


@SOME
@given(data=st.data())
def test_spoilt_students_are_told_or_harmless(run, data):
    path = min((run[0] / STUDENTS).iterdir())
    content = data.draw(spoilt_safetensors(path.read_bytes()))
    assert_told_or_harmless(run, f"{STUDENTS}/{path.name}", content)
