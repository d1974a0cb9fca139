"""How fast the explorer follows a slider, beside what the commands do for the same answer.

The first part times the server's work. The second, with Chromium and Playwright, times a page from
the move of a slider to the second frame after its answer.

Example:
    python -m benchmarks.bench_explorer
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch

from distill.law import decay_rates
from explorer.face_view import STRATEGIES, table
from explorer.faces import Decoder, Noise, decode_rows, load_decoder
from explorer.plan_view import arc_lines, arc_rows, kind_points
from explorer.settings import LR, Setting, phases, plans_of
from planner.budget import BUDGETS, Budget
from planner.parametrisation import OPERATOR
from planner.plan_all import plan_every_strategy
from report.faces import DPI, draw_faces
from report.style import save_figure
from scripts.cli import main
from vae.checkpoint import embedded_vae, load_vae
from vae.latents import LATENTS_FILE, load_latents

MOVES = 15
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FOLLOW = """async ([name, value]) => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const slider = models.find(m => m.title === "log₁₀ of the gradient steps per merge")
  const shown = models.find(m => m.name === name), started = performance.now()
  const answered = new Promise(done => shown.properties.text.change.connect(() =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)))))
  slider.value = value
  return await answered
}"""


@dataclass(frozen=True)
class BenchConfig:
    """What to time."""

    browser: bool = True
    """Time a page in Chromium too, where it is installed."""


def run(config: BenchConfig) -> None:
    """Measure and print every claim."""
    file = embedded_vae().with_name(LATENTS_FILE)
    latents = load_latents(file)
    decoder = load_decoder(load_vae(embedded_vae()), latents.mean, True)
    print(f"{torch.get_num_threads()} threads, T = 32, {len(latents.mean)} dimensions")
    setting = Setting(
        num_steps=32,
        schedule="cosine",
        variances=tuple(latents.variances.tolist()),
        steps_per_merge=10,
        budget="per_merge",
        students=OPERATOR,
        student_steps=1,
        vae_latents=True,
    )
    time_plans(setting)
    time_faces(setting, decoder)
    if config.browser and CHROMIUM is not None:
        time_page()


def time_plans(setting: Setting) -> None:
    """Plans and their picture, beside all solvers of one stage of ``compare_strategies``."""
    for budget in BUDGETS:
        moved = [replace(setting, budget=budget, steps_per_merge=n) for n in range(10, 10 + MOVES)]

        def follow(asked: Setting) -> None:
            found = plans_of(asked)
            arc_lines(arc_rows(found))
            kind_points(asked, found)

        def plan(asked: Setting) -> None:
            decay = partial(decay_rates, lr=LR)
            plan_every_strategy(asked.problem(), Budget(asked.train_time, asked.budget, decay))

        follow(replace(setting, budget=budget, steps_per_merge=5))  # loads the compiled code
        own, every = timed(follow, moved), timed(plan, moved[:3])
        print(
            f"plans {budget}: {own * 1e3:.0f} ms per move; all solvers, as the commands plan: "
            f"{every * 1e3:.0f} ms, {every / own:.1f} times as long"
        )
    diagram = timed(lambda asked: phases(asked.num_steps, "cosine", OPERATOR), [setting])
    print(f"phase diagram, drawn after the plans: {diagram * 1e3:.0f} ms")


def time_faces(setting: Setting, decoder: Decoder) -> None:
    """Eight faces of every strategy, beside the grid of ``decode_grids`` for the same rows."""
    noise = Noise(seed=0, other_seed=1, share=0.0, count=8)
    moved = [replace(setting, steps_per_merge=n) for n in range(10, 10 + MOVES)]

    def follow(asked: Setting) -> None:
        table(decode_rows(asked, STRATEGIES, noise, decoder), 0.05)

    def draw(asked: Setting) -> None:
        target, *rows = decode_rows(asked, STRATEGIES, noise, decoder)
        decoded = {row.name: row.images for row in rows}
        distances = {row.name: row.distances for row in rows if row.distances is not None}
        with tempfile.TemporaryDirectory() as folder:
            figure = draw_faces(target.images, decoded, distances, "", "surrogate", 0.05)
            save_figure(figure, Path(folder) / "faces.png", DPI)

    for asked in moved:
        plans_of(asked)  # timed above
    follow(moved[0])
    own, drawn = timed(follow, moved), timed(draw, moved[:3])
    print(
        f"faces: {own * 1e3:.0f} ms per move; decoded and drawn as the commands do: "
        f"{drawn * 1e3:.0f} ms, {drawn / own:.1f} times as long"
    )


def timed(work: Callable[[Setting], object], settings: list[Setting]) -> float:
    """Median seconds over the settings."""
    seconds = []
    for asked in settings:
        started = time.perf_counter()
        work(asked)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def time_page() -> None:
    """From slider to picture in a real browser."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "mergelab", "explore", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[2]
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(address)
            page.wait_for_function("window.Bokeh?.documents[0]?.get_model_by_name('verdict')?.text")
            page.wait_for_timeout(3_000)
            for view, shown in (("Plans", "verdict"), ("Faces", "faces")):
                page.get_by_text(view, exact=True).click()
                page.wait_for_timeout(2_000)
                moves = [page.evaluate(FOLLOW, [shown, 1.05 + 0.05 * n]) for n in range(MOVES)]
                print(f"page, {view.lower()}: {median(moves):.0f} ms from slider to picture")
            browser.close()
        server.terminate()


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
