"""What figures show: equal strategies once, faces and their differences on one scale."""

import numpy as np
import pytest
import torch

from report.equals import equal_groups, group_label, legend_names
from report.faces import FACTORS, RANGE, draw_faces, factor_of, mosaic, top_of_scale


def test_strategies_are_grouped_if_all_values_agree_within_rounding():
    values = {
        "vanilla": [1.0, 2.0],
        "sequential_boot": [1.0, 3.0],
        "greedy": [1.0 + 1e-12, 3.0],
        "beam": [1.0, 3.0 + 1e-3],
        "per_dimension": [1.0, float("nan")],
        "pareto": [1.0, float("nan")],
    }
    assert equal_groups(values) == [
        ("vanilla",),
        ("sequential_boot", "greedy"),
        ("beam",),
        ("per_dimension", "pareto"),
    ]
    assert group_label(("sequential_boot", "greedy", "beam")) == "BOOT = greedy = beam"
    assert group_label(("sequential_boot",)) == "sequential BOOT"


def test_a_legend_names_together_only_what_is_equal_in_every_panel():
    left = [("vanilla",), ("sequential_boot", "greedy"), ("beam", "pareto")]
    right = [("vanilla", "greedy"), ("sequential_boot",), ("beam", "pareto")]
    assert legend_names([left, right]) == {
        "vanilla": "vanilla",
        "sequential_boot": "sequential BOOT",
        "beam": "beam = exact",
    }


def test_the_exaggerated_face_is_the_target_and_a_multiple_of_the_difference():
    target = torch.full((2, 3, 16, 16), 0.5)
    faces = target + 0.01
    figure = draw_faces(target, {"a": faces}, {"a": torch.ones(2)}, "t", "surrogate", 0.02)
    shown, exaggerated, heats = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert factor_of(0.02) == 30
    for rows, colours in ((shown, {128, 130}), (exaggerated, {128, 204})):  # 0.5 + 30 * 0.01
        opaque = rows[..., 3] == 255
        assert set(np.unique(rows[opaque][:, :3])) == colours
        assert not rows[~opaque].any()  # the gaps
    np.testing.assert_allclose(heats.compressed(), 0.01, rtol=1e-4)
    assert figure.axes[2].images[0].norm.vmax == 0.02


def test_no_difference_leaves_the_range_that_its_factor_is_for():
    for top in np.geomspace(1e-3, 2.0, 50):
        factor = factor_of(top)
        assert factor == 1 or factor * top <= RANGE
        assert all(factor >= other for other in FACTORS if other * top <= RANGE)


def test_the_scale_of_a_run_is_that_of_all_its_grids():
    small, large = torch.full((1, 3, 8, 8), 0.1), torch.full((1, 3, 8, 8), -0.4)
    assert top_of_scale([small]) == pytest.approx(0.1)
    assert top_of_scale([small, large]) == pytest.approx(0.4)


def test_a_mosaic_holds_every_cell_and_blank_gaps():
    cells = np.arange(6, dtype=float).reshape(2, 3, 1, 1).repeat(10, 2).repeat(10, 3)
    grid = mosaic(cells, -1.0, 0.1, 0.3)
    assert grid.shape == (23, 32)
    assert (grid == -1.0).sum() == 23 * 32 - 600
    assert [grid[y, x] for y in (0, 13) for x in (0, 11, 22)] == [0, 1, 2, 3, 4, 5]
