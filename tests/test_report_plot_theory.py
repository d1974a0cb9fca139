import numpy as np
import pytest
from matplotlib.figure import Figure

from diffusion.schedule import cosine_schedule
from planner.plan import merges
from planner.regimes import consistency_threshold, sweep, vanilla_threshold
from planner.strategies import CANONICAL
from report.plan_figures import draw_arcs
from report.style import save_png_and_svg
from report.theory_figures import (
    CASES,
    HYBRID,
    NAMES,
    PHASE_STEPS,
    PHASES,
    TIE,
    VARIANCES,
    draw_ellipse,
    draw_w2_and_gap,
    phases_at,
)


@pytest.mark.parametrize("name", CANONICAL)
def test_every_merge_is_an_arc_and_later_ones_are_darker(name):
    panel = Figure().subplots()
    plan = CANONICAL[name](16)
    draw_arcs(panel, plan)
    spans = [
        (arc.center[0] - arc.width / 2, arc.center[0] + arc.width / 2) for arc in panel.patches
    ]
    assert spans == [(jump.stop, jump.start) for jump in merges(plan)]
    brightness = [sum(arc.get_edgecolor()[:3]) for arc in panel.patches]
    assert (np.diff(brightness) < 0).all()


@pytest.mark.parametrize("train_time", [0.05, 1.6])
def test_the_phase_diagram_has_its_borders_where_the_thresholds_are(train_time):
    schedule = cosine_schedule(PHASE_STEPS)
    border, threshold = consistency_threshold(schedule, train_time), vanilla_threshold(schedule)
    middles = np.array([0.5, 1.0, (1 + border) / 2, border + 1e-3, 1.5, threshold + 1e-3])
    boot, consistency, vanilla = range(len(NAMES))
    hybrid = PHASES.index(HYBRID)
    expected = [boot, boot, consistency, hybrid, hybrid, vanilla]
    assert phases_at(middles, train_time).tolist() == expected


def test_each_parametrisation_has_its_own_phases():
    """docs/theory.md, section 8: BOOT everywhere, or a curve in (lam, s), or ties."""
    variances = np.array([0.02, 0.5, 2.0, 9.0])
    boot, _, vanilla = range(len(NAMES))
    hybrid, tie = PHASES.index(HYBRID), PHASES.index(TIE)
    operator, x_0, z, constant = CASES.values()
    for case, train_time, expected in (
        (operator, 0.4, [boot, boot, hybrid, vanilla]),
        (x_0, 0.4, [boot] * 4),
        (x_0, 3.0, [boot] * 4),
        (z, 0.4, [hybrid, hybrid, vanilla, vanilla]),
        (z, 3.0, [hybrid, vanilla, vanilla, vanilla]),
        (constant, 0.05, [boot] * 4),
        (constant, 0.4, [tie, boot, boot, boot]),
        (constant, 3.0, [tie, tie, tie, tie]),
    ):
        assert phases_at(variances, train_time, case).tolist() == expected, (case, train_time)


def test_figures_are_written_as_png_and_svg(tmp_path):
    swept = sweep(cosine_schedule(8), VARIANCES, 1.6)
    for name, figure in {"a": draw_ellipse(), "b": draw_w2_and_gap(swept)}.items():
        png, svg = save_png_and_svg(figure, tmp_path / name)
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in svg.read_text()
