"""How fast the explorer follows a slider, beside what the commands do for the same answer.

The first part times the server's work. The second, with Chromium and Playwright, times a page from
the move of a slider to the second frame after its answer.

Example:
    python -m benchmarks.bench_explorer
"""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from distill.law import decay_rates
from explorer.face_view import STRATEGIES, table
from explorer.faces import Decoder, Noise, decode_rows, load_decoder
from explorer.plan_view import arc_curves, arc_rows, kind_points
from explorer.settings import LR, ScheduleChoice, Setting, phases, students_of
from planner.budget import BUDGETS, Budget
from planner.merge_counts import best_merge_counts
from planner.parametrisation import OPERATOR
from planner.plan_all import plan_every_strategy
from planner.total_budget import fill_counts
from report.faces import DPI, draw_faces
from report.style import save_figure
from scripts.cli import main
from tests.chromium import FLAGS, chromium
from vae.checkpoint import embedded_vae, load_vae
from vae.latents import LATENTS_FILE, load_latents

Array = NDArray[np.float64]
MOVES = 15
PATIENCE = 30.0
"""Seconds after which a page that does not answer is given up."""
COSINE = ScheduleChoice("cosine")
# Moves the slider of the gradient steps, and waits for the second frame after the answer.
FOLLOW = """([value, patience]) => {
  const page = Bokeh.documents[0]
  const slider = page.get_model_by_name("steps"), state = page.get_model_by_name("state")
  const started = performance.now()
  return new Promise((done, give_up) => {
    setTimeout(() => give_up(new Error(`no answer to ${value}`)), patience)
    const answered = () => {
      state.properties.text.change.disconnect(answered)
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)))
    }
    state.properties.text.change.connect(answered)
    slider.value = value
  })
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
    decoder = load_decoder(load_vae(embedded_vae()), latents.mean, None, True)
    print(f"{torch.get_num_threads()} threads, T = 32, {len(latents.mean)} dimensions")
    setting = Setting(
        num_steps=32,
        schedule=COSINE,
        variances=tuple(latents.variances.tolist()),
        steps_per_merge=10,
        budget="per_merge",
        students=OPERATOR,
        student_steps=1,
        of_latents=True,
    )
    time_plans(setting)
    time_counts(setting)
    time_faces(setting, decoder)
    if config.browser and chromium() is not None:
        with served() as address:
            time_page(address)


def time_plans(setting: Setting) -> None:
    """Plans and their picture, beside all solvers of one stage of ``compare_strategies``."""
    for budget in BUDGETS:
        moved = [replace(setting, budget=budget, steps_per_merge=n) for n in range(10, 10 + MOVES)]

        def follow(asked: Setting) -> None:
            found = students_of(asked)
            arc_curves(arc_rows(found))
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
    diagram = timed(lambda asked: phases(asked.num_steps, COSINE, OPERATOR), [setting])
    print(f"phase diagram, drawn after the plans: {diagram * 1e3:.0f} ms")


def time_counts(setting: Setting) -> None:
    """The numbers of merges under a total budget, beside the program that tries every one."""
    for steps in (10, 100, 1_000):
        asked = replace(setting, budget="total", steps_per_merge=steps)
        problem = asked.problem()
        operators = np.ascontiguousarray(problem.operators.T)
        rates = np.ascontiguousarray(decay_rates(problem.second_moments, LR).T)

        def try_all(
            asked: Setting = asked, operators: Array = operators, rates: Array = rates,
            direction: Array = problem.direction,
        ) -> list[int]:  # fmt: skip
            size = asked.num_steps
            table, cuts = np.empty((size,) * 3), np.empty((size, size, size, 2), np.int16)
            found = []
            for own, own_rates, side in zip(operators, rates, direction, strict=True):
                values = []
                for count in range(1, size):
                    shrinkage = np.exp(-2.0 * asked.train_time / count * own_rates)
                    fill_counts(table, cuts, own, shrinkage, side, count)
                    values.append(table[0, -1, count])
                found.append(1 + int(np.argmax(values)))
            return found

        best = partial(best_merge_counts, operators, rates, problem.direction, asked.train_time)
        best(), try_all()  # loads the compiled code
        own, every = cpu_seconds(best), cpu_seconds(try_all)
        print(
            f"numbers of merges, {steps} steps: {own * 1e3:.0f} ms of CPU time; each one tried: "
            f"{every * 1e3:.0f} ms, {every / own:.0f} times as long"
        )


def cpu_seconds(work: Callable[[], object]) -> float:
    """Least CPU seconds of three calls, over all threads."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


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
        students_of(asked)  # timed above
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


@contextmanager
def served() -> Iterator[str]:
    """Address of an explorer that is ended afterwards, also where this program is terminated."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    command = [sys.executable, "-m", "mergelab", "explore", "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    late = threading.Timer(PATIENCE, server.kill)  # ends the wait for the first line
    late.start()
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        late.cancel()
        if not line:
            raise TimeoutError(f"no explorer after {PATIENCE:.0f} s")
        yield line.split()[2]
    finally:
        late.cancel()
        server.kill()
        server.wait()


def time_page(address: str) -> None:
    """From slider to picture in a real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium(), args=list(FLAGS), timeout=PATIENCE * 1e3
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE * 1e3)
        page.goto(address)
        page.wait_for_function("window.Bokeh?.documents[0]?.get_model_by_name('verdict')?.text")
        for view, budget in (("Plans", "per merge"), ("Plans", "in total"), ("Faces", "per merge")):
            page.get_by_role("button", name=view, exact=True).click()
            page.get_by_role("button", name=budget, exact=True).click()
            page.wait_for_timeout(2_000)
            positions = [1.02 + 0.04 * move for move in range(MOVES + 1)]
            # The first move may load code.
            _, *moves = [page.evaluate(FOLLOW, [place, PATIENCE * 1e3]) for place in positions]
            print(
                f"page, {view.lower()}, {budget}: {median(moves):.0f} ms from slider to picture, "
                f"{max(moves):.0f} ms at most"
            )
        browser.close()


if __name__ == "__main__":
    main(BenchConfig, run, __doc__)
