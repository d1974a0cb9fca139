import json

import pytest

from distill.recommend import boot_standings, recommend, write_recommendations
from distill.results import ResultRow
from report.tables import overview
from report.verdict import recommendation_text, recommendations, verdict_table

EQUAL = "all are equal within 0.2%"


def row(strategy, w2_squared, merges=1, steps=10, engine="closed_form") -> ResultRow:
    return ResultRow(
        strategy=strategy, budget="per_merge", steps_per_merge=steps, seed=0, engine=engine,
        inputs="gaussian", w2_squared=w2_squared, w2_squared_predicted=w2_squared,
        w2_squared_expected=w2_squared, w2_squared_spread=0.0, largest_deviation=0.0,
        rms_deviation=0.0, w2_squared_to_composite=0.0, w2_squared_to_data=0.0,
        pixel_l2=w2_squared**0.5, pixel_l2_low=0.0, pixel_l2_high=1.0, ssim=1.0, merges=merges,
        rounds=1, gradient_steps=merges * steps, seconds=0.0, student_steps=1, dimensions=128,
    )  # fmt: skip


def test_the_lowest_expected_w2_is_recommended_with_its_advantage(tmp_path):
    found = recommend([row("vanilla", 4.0), row("sequential_boot", 1.0, 31), row("beam", 2.25)])
    assert (found.strategy, found.next_best) == ("sequential_boot", "beam")
    assert (found.expected_w2, found.next_expected_w2) == (1.0, 1.5)
    assert found.advantage == pytest.approx(1 / 3)
    write_recommendations(tmp_path / "r.json", 32, [found], "Take it.")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["stages"][0]["strategy"] == "sequential_boot"


def test_of_strategies_as_good_the_one_of_fewest_merges_is_recommended():
    found = recommend([row("sequential_boot", 1.0, 31), row("vanilla", 1.001), row("beam", 1.1)])
    assert found.strategy == "vanilla"
    assert found.as_good == ("sequential_boot",)
    assert not found.all_as_good


def test_the_advice_gives_w2_squared_as_the_tables_do():
    rows = [
        row("vanilla", 4.0, steps=10),
        row("sequential_boot", 1.0, 31, steps=10),
        row("vanilla", 2.0, steps=20),
        row("sequential_boot", 1.5, 31, steps=20),
        row("vanilla", 0.25, steps=100),
        row("sequential_boot", 0.2501, 31, steps=100),
    ]
    found = recommendations(rows)
    assert recommendation_text(found, 32) == (
        "Take sequential BOOT at 2 of 3 stages; at the other 1 all strategies are equally good. "
        "This holds for these latents and T = 32."
    )
    lines = [[cell.text for cell in line] for line in verdict_table(found, 32).lines]
    assert lines == [
        ["per merge", "10", "sequential BOOT", "1.000e+00", "vanilla", "75.0% lower"],
        ["per merge", "20", "sequential BOOT", "1.500e+00", "vanilla", "25.0% lower"],
        ["per merge", "100", "vanilla", "2.500e-01", "sequential BOOT", EQUAL],
    ]


def test_differences_of_rounding_are_no_ranking():
    """Squared distances of 1e-30 are noise, whatever their ratio."""
    rows = [row("vanilla", 3.4e-30), row("sequential_boot", 2.5e-30, 31)]
    found = recommend(rows)
    assert (found.strategy, found.equal_within_rounding) == ("vanilla", True)
    (line,) = verdict_table([found], 32).lines
    assert line[-1].text == "all are equal within rounding"
    best = {cell.is_best for line in overview(rows, 32).lines for cell in line}
    assert best == {False}
    assert boot_standings(rows, "w2_squared")[0].lowest == ("vanilla", "sequential_boot")


def test_a_single_strategy_has_no_next():
    found = recommend([row("beam", 1.0)])
    assert (found.next_best, found.advantage, found.all_as_good) == (None, None, True)


def test_the_papers_claim_counts_ties_within_rounding_and_only_its_own_strategies():
    rows = [
        row("vanilla", 1.0, steps=10),
        row("sequential_boot", 0.5, steps=10),
        row("per_dimension", 0.1, steps=10),
        row("vanilla", 0.25, steps=100),
        row("sequential_boot", 0.25 * (1 + 1e-14), steps=100),
        row("vanilla", 0.25, steps=1000),
        row("sequential_boot", 0.25 * (1 + 1e-9), steps=1000),
    ]
    alone, tied, beaten = boot_standings(rows, "w2_squared")
    assert alone.lowest == ("sequential_boot",)
    assert tied.lowest == ("vanilla", "sequential_boot")
    assert tied.boot_is_lowest
    assert beaten.lowest == ("vanilla",)
    assert not beaten.boot_is_lowest


def test_trained_students_tie_within_the_rounding_of_float32():
    rows = [
        row("vanilla", 0.25, engine="sgd"),
        row("sequential_boot", 0.25 * (1 + 1e-6), engine="sgd"),
    ]
    assert boot_standings(rows, "w2_squared")[0].boot_is_lowest
