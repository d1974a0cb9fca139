"""The explorer in a real browser: every control is moved, and the pictures follow."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from distill.compare_strategies import compare_strategies
from distill.results import ResultRow, tabulate
from experiment.write import write_rows
from tests.chromium import FLAGS, chromium, needs_chromium
from tests.conftest import make_model_run, small_comparison

ROOT = Path(__file__).parents[1]
PATIENCE = 60_000  # milliseconds that a crowded machine may take to follow a control
# A control is set as a user sets it, through its model, and the server answers with new models.
SET = """([name, property, value]) => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const found = models.find(m => m.name === name)
  found[property] = value
}"""
FINGERPRINT = """(names) => JSON.stringify(names.map(name => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const found = models.find(m => m.name === name)
  return found.text ?? found.renderers.map(r => Object.entries(r.data_source.data))
}))"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Address and folder of a running explorer with one finished run to look at."""
    folder = tmp_path_factory.mktemp("explorer")
    config = small_comparison(folder / "runs" / "compared", make_model_run(folder), num_images=2)
    comparison = compare_strategies(config)
    write_rows(config.out / "results.csv", tabulate(comparison, 2, 0), ResultRow)
    arguments = ["--no-browser", "--port", "0", "--runs", "runs", "--saves", "saves"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mergelab", "explore", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert address, line + process.stderr.read()
    yield address[0], folder
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.strip().endswith("stopped")
    assert "Traceback" not in err


def test_the_page_is_served_on_this_machine_alone_and_names_no_other(served):
    address, _ = served
    text = urllib.request.urlopen(address, timeout=120).read().decode()
    assert "mergelab explorer" in text
    addresses = set(re.findall(r"(?:src|href)=.(https?://[^\"']+)", text))
    assert not addresses


@pytest.fixture
def page(served):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        page.set_default_timeout(PATIENCE)
        page.complaints, page.asked = [], set()
        page.on(
            "console", lambda m: m.type in ("error", "warning") and page.complaints.append(m.text)
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.asked.add(request.url.split("/")[2]))
        page.goto(served[0], timeout=PATIENCE)
        page.wait_for_function("window.Bokeh?.documents[0]?.get_model_by_name('verdict')?.text")
        yield page
        assert page.complaints == []
        assert page.asked == {served[0].split("/")[2]}
        browser.close()


def changes(page, watched, name, prop, value):
    """Set a control and wait until what is watched differs."""
    before = page.evaluate(FINGERPRINT, watched)
    page.evaluate(SET, [name, prop, value])
    page.wait_for_function(
        f"([names, before]) => ({FINGERPRINT})(names) !== before", arg=[watched, before]
    )


PLAN = ["verdict", "plans", "errors", "kinds"]


@needs_chromium
def test_every_control_of_the_plans_moves_the_picture(page):
    changes(page, PLAN, "num_steps", "value", 8)
    changes(page, PLAN, "schedule", "value", "linear_beta")
    changes(page, PLAN, "steps", "value", 1.5)
    changes(page, PLAN, "budget", "active", 1)
    changes(page, PLAN, "students", "value", "denoiser, loss in z")
    changes(page, PLAN, "student_steps", "value", "2")
    changes(page, PLAN, "source", "active", 1)
    changes(page, PLAN, "low", "value", -1.0)
    changes(page, PLAN, "high", "value", 0.7)
    changes(page, PLAN, "source", "active", 2)
    changes(page, PLAN, "own", "value", "0.1 0.2 3")
    page.wait_for_function(
        "Bokeh.documents[0].get_model_by_name('command').value.includes('--variances 0.1 0.2 3.0')"
    )


@needs_chromium
def test_a_bad_value_is_told_beside_its_field_and_mended(page):
    page.evaluate(SET, ["source", "active", 2])
    changes(page, ["own_error"], "own", "value", "0.5 -2")
    assert "variance" in page.evaluate(FINGERPRINT, ["own_error"])
    page.wait_for_function("document.body.dataset.state === 'stale'")
    changes(page, ["own_error"], "own", "value", "0.5 2")
    page.wait_for_function("document.body.dataset.state === 'shown'")
    page.evaluate(SET, ["num_steps", "value", 4])
    changes(page, ["error"], "student_steps", "value", "8")
    assert "8 steps cannot learn from a teacher of 4" in page.evaluate(FINGERPRINT, ["error"])


@needs_chromium
def test_a_schedule_is_read_from_a_file_and_again_when_it_changes(page, served):
    file = served[1] / "betas.csv"
    page.evaluate(SET, ["num_steps", "value", 4])
    page.evaluate(SET, ["schedule_file", "value", str(file)])
    changes(page, ["schedule_error"], "schedule", "value", "file")
    assert "no such file" in page.evaluate(FINGERPRINT, ["schedule_error"])
    file.write_text("betas\n0.1\n0.2\n0.3\n0.4\n")
    changes(page, PLAN, "steps", "value", 1.5)
    assert page.evaluate(FINGERPRINT, ["schedule_error"]) == '[""]'
    file.write_text("betas\n0.1\n0.2\n")
    changes(page, ["schedule_error"], "steps", "value", 1.2)
    assert "T = 4, but" in page.evaluate(FINGERPRINT, ["schedule_error"])


@needs_chromium
def test_faces_are_told_to_need_latents_where_they_do(page):
    page.get_by_text("Faces", exact=True).click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('faces').text.includes('<img')")
    changes(page, ["faces"], "source", "active", 2)
    assert "choose “embedded”" in page.evaluate(FINGERPRINT, ["faces"])


@needs_chromium
def test_a_click_into_the_phases_sets_the_first_variance(page):
    canvas = page.locator(".pair").nth(1).locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    before = page.evaluate(FINGERPRINT, ["verdict"])
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function(
        f"([names, before]) => ({FINGERPRINT})(names) !== before", arg=[["verdict"], before]
    )


@needs_chromium
def test_faces_follow_noise_strategies_and_colours_and_are_saved(page, served):
    page.get_by_text("Faces", exact=True).click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('faces').text.includes('<img')")
    changes(page, ["faces"], "seed", "value", 5)
    changes(page, ["faces"], "share", "value", 0.5)
    changes(page, ["faces"], "other_seed", "value", 7)
    changes(page, ["faces"], "strategies", "active", [0, 3])
    changes(page, ["faces"], "amplification", "value", 60)
    page.get_by_role("button", name="Save").click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('saved').text.includes('saved')")
    saved = served[1] / "saves" / "001"
    assert json.loads((saved / "plans.json").read_text())["num_steps"] == 32
    assert (saved / "faces.png").stat().st_size > 10_000


@needs_chromium
def test_a_finished_run_is_opened_and_its_strategies_chosen(page):
    page.get_by_text("Runs", exact=True).click()
    runs = page.evaluate(
        "[...Bokeh.documents[0]._all_models.values()].find(m => m.name === 'run').options"
    )
    assert runs[1].startswith("compare_strategies: ")
    changes(page, ["run_faces", "run_contents"], "run", "value", runs[1])
    changes(page, ["run_faces"], "run_strategies", "active", [0])
    changes(page, ["run_faces"], "first", "value", 8)


@needs_chromium
def test_two_tabs_do_not_disturb_each_other(page, served):
    other = page.context.new_page()
    other.goto(served[0], timeout=PATIENCE)
    other.wait_for_function("window.Bokeh?.documents[0]?.get_model_by_name('verdict')?.text")
    before = page.evaluate(FINGERPRINT, PLAN)
    changes(other, PLAN, "num_steps", "value", 6)
    assert page.evaluate(FINGERPRINT, PLAN) == before
