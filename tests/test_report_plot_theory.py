import numpy as np
import pytest
from matplotlib.figure import Figure

from diffusion.schedule import cosine_schedule
from planner.plan import merges
from planner.regimes import consistency_threshold, sweep, vanilla_threshold
from planner.strategies import CANONICAL
from report.plan_figures import draw_arcs
from report.theory_figures import (
    HYBRID,
    NAMES,
    PHASE_STEPS,
    PHASES,
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


def test_figures_are_written_as_png_and_svg(tmp_path):
    swept = sweep(cosine_schedule(8), VARIANCES, 1.6)
    for paths in (draw_ellipse(tmp_path / "a"), draw_w2_and_gap(tmp_path / "b", swept)):
        png, svg = paths
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in svg.read_text()
