"""What figures show: equal strategies once, faces and their differences on one scale."""

import numpy as np
import pytest
import torch

from distill.simulate_students import SyntheticRow
from experiment.folder import open_run
from report.config import TheoryConfig
from report.equals import equal_groups, group_label, legend_names
from report.faces import FACTORS, RANGE, draw_faces, factor_of, mosaic, top_of_scale
from report.markdown import Table
from report.page import Picture
from report.summary import write_summary
from report.synthetic import draw_errors
from tests.conftest import draw_image


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


def test_a_command_with_more_than_two_pictures_has_a_page_of_the_same_words(tmp_path):
    picture = draw_image(0)
    for count in (2, 3):
        out = tmp_path / str(count)
        open_run(out, "plot_theory", TheoryConfig(out=out), {}, "cpu")
        pictures = []
        for number in range(count):
            pictures.append(Picture(out / f"{number}.png", f"Caption of picture {number}."))
            picture.save(pictures[-1].path)
        table = Table.of(["a", "b"], [["c", "0.125"]])
        write_summary(out, "A title", ["As in [OM].", table], pictures)
        texts = [(out / "summary.md").read_text()]
        assert (out / "report.html").exists() == (count > 2)
        if count > 2:
            texts.append((out / "report.html").read_text())
        for text in texts:
            assert "0.125" in text
            assert "https://arxiv.org/abs/2505.16024" in text
            assert all(one.caption in text for one in pictures)


def test_points_of_the_same_t_stand_apart_and_lines_do_not():
    rows = [
        SyntheticRow(num_steps, 0.5, name, "simulated", 1e-2, 1e-3, 10, 1e-2)
        for num_steps in (8, 16)
        for name in ("vanilla", "sequential_boot")
    ]
    panel = draw_errors(rows, "surrogate").axes[0]
    curves = [line.get_xdata() for line in panel.lines if line.get_linestyle() == "-"]
    points = [line.get_xdata() for line in panel.lines if line.get_marker() == "o"]
    assert [list(x) for x in curves] == [[8, 16]] * 2
    assert len({x for of in points for x in of}) == 4
