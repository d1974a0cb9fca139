"""Every figure: nothing overlaps, nothing is cut off or squeezed, axes have labels."""

import math
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import get_args

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import report.sampler_theory
import report.theory_figures
from diffusion.schedule import cosine_schedule
from distill.export_student import Export
from distill.jobs import Case, Students
from distill.results import ResultRow
from distill.simulate_students import SyntheticRow
from distill.study_convergence import ConvergenceRow
from neural.config import NeuralConfig
from neural.distill_neural import NeuralRow, distill_neural
from neural.mixture import FloorRow
from planner.budget import Budget, BudgetKind, Stage
from planner.effort import Effort
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet
from planner.problem import Problem, make_problem
from planner.regimes import HYBRID, TIE, sweep
from report import neural_figures
from report.compare_runs import draw_runs
from report.convergence import draw_convergence
from report.error_curves import draw_error_curves
from report.export import draw_operator
from report.faces import draw_face_grid, draw_face_rows, draw_faces
from report.latents import draw_latents, draw_variances
from report.mixture import draw_floors
from report.operators import draw_operators
from report.plan_figures import draw_few_step_arcs, draw_plan_arcs, draw_plan_kinds
from report.run_results import KINDS, Run
from report.sampler_comparison import draw_sampler_comparison
from report.student_steps import draw_student_steps
from report.style import LABELS, SAMPLER_LABELS, STYLE
from report.synthetic import draw_errors
from report.trained import draw_trained
from report.training import ESTIMATOR_PANELS, VAE_PANELS, draw_training, names_of
from sampling.compare_operators import Operators, StepRow
from sampling.compare_samplers import CompareRow
from vae.latents import describe

TOUCH = 2.0  # points by which the boxes of two texts may overlap: letters do not fill their boxes
PAGE = 7.2  # inches between the margins of a page, to which wider figures are shrunk
SMALLEST_LETTERS = 5.0  # points, on such a page
LEAST_SHARE = 0.3  # of a figure that its panels fill
MAIN = ("vanilla", "progressive", "sequential_consistency", "sequential_boot")
ALL = (*MAIN, "greedy", "beam", "pareto", "per_dimension")


def faults(figure: Figure) -> list[str]:
    """What is wrong with the look of a figure, one line each."""
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        figure.draw_without_rendering()
        renderer = canvas.get_renderer()
        saved = figure.get_tightbbox(renderer)  # inches
    point = figure.dpi / 72
    found = []
    panels = [panel for panel in figure.axes if panel.get_visible()]
    boxes = [(text, text.get_window_extent(renderer)) for text in _texts(figure)]
    boxes += [(legend, legend.get_window_extent(renderer)) for legend in figure.findobj(Legend)]
    for (one, a), (other, b) in combinations(boxes, 2):
        if _overlap(a, b) > TOUCH * point:
            found.append(f"{_name(one)} overlaps {_name(other)}")
    for artist, box in boxes:
        for panel in panels:
            if panel is not artist.axes and _overlap(box, panel.bbox) > TOUCH * point:
                found.append(f"{_name(artist)} lies on the panel {panel.get_title()!r}")
        cut = max(
            saved.x0 - box.x0 / figure.dpi,
            saved.y0 - box.y0 / figure.dpi,
            box.x1 / figure.dpi - saved.x1,
            box.y1 / figure.dpi - saved.y1,
        )
        if cut > 0.02:
            found.append(f"{_name(artist)} is cut off")
    shrunk = min(1.0, PAGE / saved.width)
    for text in {text for text in figure.findobj(Text) if text.get_text().strip()}:
        if text.get_fontsize() * shrunk < SMALLEST_LETTERS:
            found.append(f"{_name(text)} has letters of {text.get_fontsize() * shrunk:.1f} points")
    area = sum(panel.bbox.width * panel.bbox.height for panel in panels) / figure.dpi**2
    if area < LEAST_SHARE * saved.width * saved.height:
        found.append(f"panels fill {area / (saved.width * saved.height):.0%} of the figure")
    for panel in panels:
        found += [*_unlabelled(figure, panel), *_covered(panel, renderer), *_left_out(panel)]
    return found


def _texts(figure: Figure) -> Iterator[Text]:
    """The texts that are seen, without those of legends."""
    hidden = {text for legend in figure.findobj(Legend) for text in legend.findobj(Text)}
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - room <= tick.get_loc() <= high + room:
                    hidden |= {tick.label1, tick.label2}
            if not (panel.axison and panel.get_visible()):
                hidden |= set(axis.findobj(Text))
        if not panel.get_visible():
            hidden |= set(panel.findobj(Text))
    for text in figure.findobj(Text):
        if text not in hidden and text.get_visible() and text.get_text().strip():
            yield text


def _overlap(one: Bbox, other: Bbox) -> float:
    """The smaller side of what two boxes share, 0 if they are apart."""
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else min(shared.width, shared.height)


def _name(artist: Text | Legend) -> str:
    return f"the text {artist.get_text()!r}" if isinstance(artist, Text) else "a legend"


def _unlabelled(figure: Figure, panel: Axes) -> list[str]:
    """Axes of numbers that nothing names: no label of the panel, its column or row, or of all."""
    lacking = []
    parts = figure.findobj(FigureBase)
    place = panel.get_position()
    for which, extent in (("x", place.intervalx), ("y", place.intervaly)):
        texts = [label.get_text() for label in getattr(panel, f"get_{which}ticklabels")()]
        if not panel.axison or not any(map(_is_number, texts)):
            continue
        line = [
            other
            for other in figure.axes
            if np.allclose(getattr(other.get_position(), f"interval{which}"), extent, atol=0.01)
        ]
        named = any(getattr(own, f"get_{which}label")() for own in line)
        # The title of a panel with a single axis, such as a colour bar, names it.
        named |= bool(panel.get_title()) and not any(panel.get_yticklabels())
        if not named and not any(getattr(part, f"get_sup{which}label")() for part in parts):
            lacking.append(f"the {which} axis of {panel.get_title()!r} has no label")
    return lacking


def _is_number(text: str) -> bool:
    return re.sub(r"\\\w+|[^\w]", "", text).isdigit()


def _covered(panel: Axes, renderer: object) -> list[str]:
    """Legends within a panel that lie on its lines."""
    legend = panel.get_legend()
    if legend is None:
        return []
    box = legend.get_window_extent(renderer)
    points = [line.get_transform().transform(line.get_xydata()) for line in panel.lines]
    on_it = sum(int(box.count_contains(of)) for of in points if len(of))
    return [f"the legend of {panel.get_title()!r} covers {on_it} points"] if on_it else []


def _left_out(panel: Axes) -> list[str]:
    """Marked points outside a panel; lines without marks may end at its border."""
    room = panel.bbox.padded(1.0)
    points = [
        line.get_transform().transform(line.get_xydata())
        for line in panel.lines
        if line.get_marker() not in ("", "None", None) and len(line.get_xydata())
    ]
    lacking = sum(
        len(of) - room.count_contains(of) for of in points for of in [of[np.isfinite(of).all(1)]]
    )
    return [f"{lacking} points are outside of {panel.get_title()!r}"] if lacking else []


def _problem(num_steps: int, variances: tuple[float, ...]) -> Problem:
    return make_problem(cosine_schedule(num_steps), np.array(variances))


def _plans(num_steps: int, variances: tuple[float, ...], student_steps: int = 1) -> PlanSet:
    problem = _problem(num_steps, variances)
    effort = Effort(("greedy", "beam"))
    return plan_every_strategy(problem, Budget(1.6), student_steps=student_steps, effort=effort)


def _result_rows(
    problem: Problem, budgets: tuple[str, ...], steps: tuple[int, ...], equal: bool, tiny: bool
) -> list[ResultRow]:
    """Rows of every strategy, whose errors are equal or not, and below what is drawn or not."""
    scale = 1e-14 if tiny else 0.1
    rows = []
    for budget in budgets:
        for number in steps:
            for place, name in enumerate(ALL):
                error = scale * (1 if equal else 1 + place) / number
                rows.append(
                    ResultRow(
                        *(name, budget, number, 0, "sgd", "gaussian", error, error, error, error),
                        *(1.0, 1.0, 2 * error, 1.0, None, None, None, None, 1, 1, 10, 1.0, 1),
                        len(problem.variances),
                    )
                )
    return rows


def error_curves(
    num_steps: int,
    budgets: tuple[str, ...],
    steps: tuple[int, ...] = (10, 100),
    equal: bool = False,
    tiny: bool = False,
) -> Figure:
    problem = _problem(num_steps, (0.5, 1.08))
    return draw_error_curves(_result_rows(problem, budgets, steps, equal, tiny), problem, 1e-3)


def student_steps(columns: int, equal: bool) -> Figure:
    panels = {
        f"{10**n:,} gradient steps\nper merge": {
            name: {k: 0.1**n * (1 if equal else 1 + place) / k for k in (1, 2, 4)}
            for place, name in enumerate(ALL)
        }
        for n in range(1, columns + 1)
    }
    return draw_student_steps([panels] * 2, "surrogate", "s = 1.6 per merge")


def plan_arcs(num_steps: int, variances: tuple[float, ...]) -> Figure:
    plans = _plans(num_steps, variances)
    titles = ("10 gradient steps per merge", "31,000 gradient steps in total")
    return draw_plan_arcs(dict.fromkeys(titles, plans), np.array(variances))


def plan_kinds(width: int) -> Figure:
    variances = np.linspace(0.1, 1.2, width)
    kinds = np.array([*MAIN, HYBRID, TIE])[np.arange(width) % 6]
    stages = [Stage(budget, n, 1) for budget in ("per_merge", "total") for n in (10, 10_000)]
    return draw_plan_kinds(variances, dict.fromkeys(stages, kinds), 1000)


def faces(columns: int, rows: int, top: float) -> Figure:
    target = torch.full((columns, 3, 32, 32), 0.5)
    names = [
        label if k < len(LABELS) else f"{label}\nK = {k}"
        for k, label in zip(range(rows), 3 * list(LABELS.values()), strict=False)
    ]
    distances = torch.full((columns,), 0.0123)
    decoded = dict.fromkeys(names, target + top / 2)
    title = "One-step students, T = 32, 31,000 gradient steps in total"
    return draw_faces(target, decoded, dict.fromkeys(names, distances), title, "surrogate", top)


def face_rows(columns: int, names: tuple[str, ...]) -> Figure:
    return draw_face_rows({name: torch.rand(columns, 3, 32, 32) for name in names}, "a title")


def latents(width: int) -> Figure:
    factor = np.random.default_rng(0).normal(size=(width, width + 2))
    covariance = factor @ factor.T / (width + 2)
    return draw_latents(covariance, describe(torch.from_numpy(covariance)))


def synthetic(num_steps: tuple[int, ...], variances: tuple[float, ...]) -> Figure:
    names = (*MAIN, "per_dimension")
    return draw_errors(
        [
            SyntheticRow(T, variance, name, "simulated", 1e-3 / place, 1e-4, 10, 1.1e-3 / place)
            for T in num_steps
            for variance in variances
            for place, name in enumerate(names, 1)
        ],
        "surrogate",
    )


def convergence(variances: tuple[float, ...]) -> Figure:
    return draw_convergence(
        [
            ConvergenceRow(
                32,
                variance,
                name,
                "simulated",
                budget,
                scale * n,
                n,
                0.1 / n,
                0.01 / n,
                10,
                0.1 / n,
            )
            for budget, scale in (("per_merge", 1), ("total", 31))
            for variance in variances
            for name in MAIN
            for n in (1, 10, 100, 1_000)
        ],
        "surrogate",
    )


def training(epochs: int, panels: dict, x: str) -> Figure:
    rows = [{x: n + 1} | dict.fromkeys(names_of(panels), 0.5 + 0.1 * n) for n in range(epochs)]
    return draw_training(rows, x, panels)


def operators(num_steps: int) -> Figure:
    schedule, variances = cosine_schedule(num_steps), np.array([0.02, 0.5, 0.7, 0.9, 1.1])
    found = make_problem(schedule, variances).operators
    rows = [StepRow(t, 0.1, 0.2, 0.1, 0.01) for t in range(1, num_steps + 1)]
    return draw_operators(Operators(variances, found, found, rows))


def floors(separations: tuple[float, ...]) -> Figure:
    return draw_floors(
        [
            FloorRow(T, separation, side, length, gates, 1e-3 / gates, 1.5, 3.0, 0.9)
            for T in (32, 16, 8)
            for separation in separations
            for side in ("from_noise", "to_data")
            for length in (T // 2, T)
            for gates in (1, 2, 4)
        ]
    )


def samplers() -> Figure:
    rows = [
        CompareRow(name, steps, 0.5 / steps + 0.1, None if name[-1] == "d" else 1 / steps, 1.0)
        for name in SAMPLER_LABELS
        for steps in (5, 10, 20, 50, 100)
    ]
    rows += [CompareRow(name, 0, 0.12, None, 0.0) for name in ("gaussian", "flow", "training")]
    return draw_sampler_comparison(rows)


def runs(job: str, xs: tuple[float, ...], long: bool) -> Figure:
    letters = "_with_a_name_that_says_very_much_about_its_flags_and_its_purpose" if long else ""
    points = {
        (f"{LABELS[name]}".replace("\n", " "), line): {x: (1 + place) / (1 + x) for x in xs}
        for place, name in enumerate(ALL)
        for line in ("equal per merge, K = 1", "equal in total, K = 1")
    }
    return draw_runs([Run(f"run_{n}{letters}", {}, [], points) for n in range(4)], KINDS[job])


def neural_rows(budgets: tuple[str, ...], numbers: tuple[int, ...], equal: bool) -> list[NeuralRow]:
    names = (*MAIN, "planned")
    return [
        NeuralRow(
            *(name, "", number, budget, steps, steps, 1, 1, 1),
            (1 if equal else 1 + place) / steps / number / (1 + len(budget)),
            *(math.nan, 1e-3 / steps, 0.0, 0.0, 0.1, math.nan, 1.0, ""),
        )
        for number in numbers
        for budget in budgets
        for steps in (30, 100, 300)
        for place, name in enumerate(names)
    ]


def students() -> tuple[Problem, Students]:
    problem = _problem(4, (0.5, 0.9, 1.08))
    operator = problem.operators.prod(axis=0)
    return problem, Students(
        *("sgd", 1, 1, 10, 1.0, operator, operator, operator, 0.1 * operator),
        np.geomspace(1e-3, 1e-2, 50),
    )


def exported() -> Figure:
    problem, found = students()
    case = Case("sequential_consistency", Stage("total", 10, 1), 0)
    return draw_operator(Export(case, found, problem, np.zeros(3), {}, []))


def trained(names: tuple[str, ...]) -> Figure:
    problem, found = students()
    return draw_trained(dict.fromkeys(names, found), problem)


FIGURES: dict[str, Callable[[], Figure]] = {
    "error curves": lambda: error_curves(32, ("per_merge", "total"), (10, 100, 1000, 10_000)),
    "error curves, T = 1, one budget": lambda: error_curves(1, ("per_merge",), (10,), equal=True),
    "error curves, one budget": lambda: error_curves(8, ("total",)),
    "error curves, three budgets": lambda: error_curves(32, get_args(BudgetKind)),
    "error curves, all equal": lambda: error_curves(8, ("per_merge", "total"), equal=True),
    "error curves, rounding": lambda: error_curves(8, ("per_merge", "total"), tiny=True),
    "error curves, T = 1000": lambda: error_curves(1000, ("per_merge",), (1, 10_000)),
    "error over K": lambda: student_steps(1, equal=False),
    "error over K, four stages": lambda: student_steps(4, equal=False),
    "error over K, all equal": lambda: student_steps(2, equal=True),
    "arcs": lambda: plan_arcs(16, (0.5, 1.08, 2.0)),
    "arcs, T = 1": lambda: plan_arcs(1, (0.5,)),
    "arcs, K = 4": lambda: draw_few_step_arcs(_plans(16, (0.5, 1.08), 4), "K = 4, s = 1.6"),
    "arcs, K = T": lambda: draw_few_step_arcs(_plans(4, (0.5, 1.08), 4), "K = 4, s = 1.6"),
    "kinds": lambda: plan_kinds(128),
    "kinds, d = 1": lambda: plan_kinds(1),
    "kinds, d = 4,096": lambda: plan_kinds(4_096),
    **{
        f"faces, {columns} columns, {rows} rows, up to {top}": lambda c=columns, r=rows, t=top: (
            faces(c, r, t)
        )
        for columns, rows, top in (
            (1, 1, 0.001),
            (5, 7, 0.05),
            (8, 7, 0.05),
            (8, 7, 0.9),
            (16, 5, 0.05),
            (8, 21, 0.05),
        )
    },
    "face rows": lambda: face_rows(8, tuple(SAMPLER_LABELS.values())),
    "face rows, many lines": lambda: face_rows(10, ("a\n" * 3 + "b" * 40, "c\n" * 3 + "d")),
    "face grid": lambda: draw_face_grid(torch.rand(64, 3, 32, 32), "DDIM, 20 steps"),
    "one face": lambda: draw_face_grid(torch.rand(1, 3, 32, 32), "DDIM, 20 steps"),
    "latents": lambda: latents(128),
    "latents, d = 1": lambda: latents(1),
    "variances, d = 4,096": lambda: draw_variances(np.linspace(0.1, 2.0, 4_096), True),
    "synthetic": lambda: synthetic((32, 64, 128, 256, 512), (0.2, 0.5, 1.0, 1.02, 2.0, 5.0)),
    "synthetic, one cell": lambda: synthetic((8,), (0.5,)),
    "synthetic, seven variances": lambda: synthetic(
        (8, 1000), (0.1, 0.2, 0.5, 1.0, 1.02, 2.0, 5.0)
    ),
    "convergence": lambda: convergence((0.2, 1.0, 2.0, 5.0)),
    "convergence, one variance": lambda: convergence((0.5,)),
    "training": lambda: training(30, VAE_PANELS, "epoch"),
    "training, one epoch": lambda: training(1, VAE_PANELS, "epoch"),
    "training of the estimator": lambda: training(1, ESTIMATOR_PANELS, "update"),
    "operators": lambda: operators(32),
    "operators, T = 1": lambda: operators(1),
    "floors": lambda: floors((0.5, 1.0, 2.0, 3.0, 5.0)),
    "samplers": samplers,
    "runs": lambda: runs("compare_strategies", (10.0, 100.0), long=False),
    "runs, long names": lambda: runs("compare_strategies", (10.0, 100.0), long=True),
    "runs, one x": lambda: runs("plan_merges", (1.0,), long=True),
    "runs, one x of two quantities": lambda: runs("train_noise_estimator", (1.0,), long=True),
    "neural errors": lambda: neural_figures.draw_errors(
        neural_rows(("per_merge", "total", "compute"), (1, 2), equal=False)
    ),
    "neural errors, one budget": lambda: neural_figures.draw_errors(
        neural_rows(("total",), (1,), equal=True)
    ),
    "neural errors over K": lambda: neural_figures.draw_student_steps(
        neural_rows(("total",), (1, 2, 4), equal=False)
    ),
    "exported student": exported,
    "trained students": lambda: trained(MAIN),
    "one trained student": lambda: trained(("sequential_consistency",)),
    "sweep": lambda: report.theory_figures.draw_w2_and_gap(
        sweep(cosine_schedule(8), report.theory_figures.VARIANCES, 1.6)
    ),
    "phases": report.theory_figures.draw_phases,
    "parametrisations": report.theory_figures.draw_parametrisations,
    "ellipse": report.theory_figures.draw_ellipse,
    "gaps": report.theory_figures.draw_gap_and_arcs,
    "pairs": report.theory_figures.draw_pairs,
    "orders": report.sampler_theory.draw_orders,
    "local KL": report.sampler_theory.draw_local_kl,
    "marginals": report.sampler_theory.draw_marginals,
    "paths": report.sampler_theory.draw_paths,
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_legible(name, monkeypatch):
    theory = report.theory_figures
    monkeypatch.setattr(theory, "RESOLUTION", 40)
    monkeypatch.setattr(theory, "TRAIN_TIMES", theory.TRAIN_TIMES[::10])
    monkeypatch.setattr(theory, "CASE_VARIANCES", theory.CASE_VARIANCES[::10])
    monkeypatch.setattr(theory, "CASE_TIMES", theory.CASE_TIMES[::10])
    monkeypatch.setattr(report.sampler_theory, "ORDER_STEPS", np.array([10, 40, 160, 640]))
    monkeypatch.setattr(report.sampler_theory, "MARGINAL_STEPS", np.array([10, 1280]))
    assert faults(FIGURES[name]()) == []


def test_the_outputs_of_neural_students_are_legible(tmp_path):
    config = NeuralConfig(
        out=tmp_path / "run", num_steps=4, student_steps=(1, 2), steps_per_merge=(2,), teachers=1,
        seeds=1, teacher_steps=5, width=4, depth=1, noises=64, budgets=("per_merge",),
    )  # fmt: skip
    assert faults(neural_figures.draw_outputs(distill_neural(config))) == []


def test_what_is_not_legible_is_found():
    """The check itself: every kind of fault is seen."""
    figure = Figure(figsize=(3, 3))
    left, right = figure.subplots(1, 2)
    left.plot(np.linspace(1, 2), np.linspace(1, 2), label="a line")
    left.set_ylabel("y")
    left.text(1.5, 1.5, "here")
    left.text(1.5, 1.5, "there")
    right.set_title("a title that is far too long for so small a panel")
    right.text(-0.8, 0.5, "astray", transform=right.transAxes)
    right.text(0.5, 0.5, "tiny", fontsize=3)
    right.text(4.0, 0.5, "cut", transform=right.transAxes, in_layout=False)
    left.legend(loc="center")
    text = "\n".join(faults(figure))
    for said in ("'here' overlaps", "'astray' lies on", "letters of 3.0", "cut off", "no label"):
        assert said in text
    assert "covers" in text
