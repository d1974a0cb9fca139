"""The page's own planner, in JavaScript, against the planner."""

import json
import subprocess

import numpy as np
import pytest

from diffusion.schedule import cosine_schedule, linear_beta_schedule
from distill.law import decay_rates
from planner.budget import Budget
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import merges
from planner.plan_all import plan_every_strategy
from planner.plan_set import PER_DIMENSION
from planner.problem import make_problem
from planner.strategies import CANONICAL
from report.page import Page, write_page
from report.plan_view import SCRIPT, plan_data
from tests.chromium import FLAGS, chromium, needs_chromium

LR = 1e-3


@pytest.fixture(scope="module")
def run():
    """Runs JavaScript after the page's script and gives what it returns."""
    driver = pytest.importorskip("playwright._impl._driver")
    node, _ = driver.compute_driver_executable()

    def run(code: str, **given: object):
        script = (
            SCRIPT.read_text(encoding="utf-8")
            + f"""
const given = {json.dumps(given)};
console.log(JSON.stringify((() => {{ {code} }})()));"""
        )
        done = subprocess.run(
            [node, "-e", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


STUDENTS = [
    OPERATOR,
    Parametrisation("denoiser", "x_0"),
    Parametrisation("denoiser", "z"),
    Parametrisation("denoiser", "v", "v"),
]
VARIANCES = np.array([0.0, 0.04, 0.5, 1.0, 1.02, 1.3, 2.0, 9.0])


@pytest.mark.parametrize("students", STUDENTS, ids=str)
@pytest.mark.parametrize("schedule", [cosine_schedule(32), linear_beta_schedule(7)])
@pytest.mark.parametrize("steps", [1, 12, 300])
@pytest.mark.parametrize("budget", ["per_merge", "total"])
def test_the_pages_errors_are_the_planners(run, students, schedule, steps, budget):
    problem = make_problem(schedule, VARIANCES, students)
    total = steps * max(1, problem.num_steps - 1) if budget == "total" else steps
    found = plan_every_strategy(
        problem, Budget(LR * 32 * total, budget, lambda moments: decay_rates(moments, LR))
    )
    errors = run(
        'return planner.errors(given.problem, given.problem.variances, given.steps, given.inTotal)',
        problem=plan_data(problem, LR), steps=steps, inTotal=budget == "total",
    )  # fmt: skip
    names = [*CANONICAL, *([PER_DIMENSION] if budget == "per_merge" else [])]
    assert list(errors) == names
    for name in names:
        expected = found.strategies[name].w2_squared ** 0.5
        assert errors[name] ** 0.5 == pytest.approx(expected, rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("students", STUDENTS, ids=str)
@pytest.mark.parametrize("variance", [0.3, 1.05, 1.5, 4.0])
def test_the_pages_optimal_plan_has_the_value_that_it_says(run, students, variance):
    problem = make_problem(cosine_schedule(16), np.array([variance]), students)
    value, again = run(
        """const one = planner.coordinate(given.problem, given.problem.variances[0]);
        const best = planner.optimum(one, 20);
        return [best.operator, planner.value(one, best.plan, 20)]""",
        problem=plan_data(problem, LR),
    )
    assert value == pytest.approx(again, rel=1e-13)


@pytest.mark.parametrize("name", CANONICAL)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8, 13])
def test_the_pages_strategies_merge_the_same_blocks(run, name, num_steps):
    found = run(
        "return planner.merges(planner.canonical[given.name](given.T)).map(m => [m.start, m.stop])",
        name=name, T=num_steps,
    )  # fmt: skip
    own = [[jump.start, jump.stop] for jump in merges(CANONICAL[name](num_steps))]
    assert sorted(found) == sorted(own)


@needs_chromium
def test_the_page_follows_its_controls_and_asks_nobody(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    problem = make_problem(cosine_schedule(8), VARIANCES)
    page = Page("A page", [], {}, "again", plan_view=plan_data(problem, LR))
    write_page(tmp_path / "page.html", page)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        tab = browser.new_page()
        complaints, asked = [], []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((tmp_path / "page.html").as_uri())
        shown = [tab.locator("#plan-view tbody").inner_text()]
        for name, value in (("steps", "2"), ("variance", "0.5"), ("budget", "total")):
            control = tab.locator(f"#plan-view [name={name}]")
            control.select_option(value) if name == "budget" else control.fill(value)
            shown.append(tab.locator("#plan-view tbody").inner_text())
        assert tab.locator("#plan-view svg").count() == len(CANONICAL)
        browser.close()
    assert len(set(shown)) == 4
    found = plan_every_strategy(
        problem, Budget(LR * 32 * 700, "total", lambda moments: decay_rates(moments, LR))
    )
    error = found.strategies["vanilla"].w2_squared
    mantissa, exponent = f"{error:.3e}".split("e")
    assert f"{mantissa}e{int(exponent):+d}" in shown[-1]  # as JavaScript writes numbers
    assert complaints == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
