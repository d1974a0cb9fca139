from dataclasses import replace

import pytest

from distill.config import SimulateConfig
from distill.published import compare_with_published, published_cells_of, read_published
from distill.simulate_students import SyntheticRow

HEADER = "T,lambda,strategy,mean,std\n"


def measured(num_steps, variance, strategy, mean, std) -> SyntheticRow:
    return SyntheticRow(num_steps, variance, strategy, "simulated", mean, std, 10, mean)


def written(tmp_path, text):
    path = tmp_path / "published.csv"
    path.write_text(text)
    return path


def compared(tmp_path, published: str, row: SyntheticRow):
    (cell,) = compare_with_published([row], read_published(written(tmp_path, HEADER + published)))
    return cell


def test_a_cell_is_found_under_the_papers_name_and_number_format(tmp_path):
    row = measured(64, 0.5, "sequential_boot", 3.5e-4, 5e-5)
    cell = compared(tmp_path, "64,0.50,boot,3.2e-04,3.7e-05\n", row)
    assert cell.deviation == pytest.approx(0.3 / 0.37)
    assert cell.std_ratio == pytest.approx(5 / 3.7)
    assert (cell.agrees, cell.std_agrees, cell.known_off) == (True, True, False)


@pytest.mark.parametrize(
    ("mean", "agrees"), [(1.029, True), (1.031, True), (1.049, True), (1.051, False), (0.9, False)]
)
def test_means_agree_within_the_larger_of_three_stds_and_five_percent(tmp_path, mean, agrees):
    row = measured(64, 0.5, "vanilla", mean, 0.01)
    assert compared(tmp_path, "64,0.5,vanilla,1.0,0.01\n", row).agrees is agrees


@pytest.mark.parametrize(("mean", "agrees"), [(-1.2, True), (-1.31, False), (1.0, False)])
def test_a_wide_published_std_counts_instead_whatever_the_sign(tmp_path, mean, agrees):
    row = measured(64, 0.5, "vanilla", mean, 0.01)
    assert compared(tmp_path, "64,0.5,vanilla,-1.0,0.1\n", row).agrees is agrees


@pytest.mark.parametrize(
    ("std", "agrees"), [(0.49, False), (0.51, True), (1.9, True), (2.1, False)]
)
def test_stds_agree_within_a_factor_two(tmp_path, std, agrees):
    row = measured(64, 0.5, "vanilla", 1.0, std)
    assert compared(tmp_path, "64,0.5,vanilla,1.0,1.0\n", row).std_agrees is agrees


def test_the_three_cells_known_to_be_off_are_marked_and_no_others(tmp_path):
    keys = [(t, v) for t in (32, 64) for v in (0.2, 0.5, 1.0, 1.02, 2.0, 5.0)]
    names = ["vanilla", "progressive", "boot", "consistency"]
    text = HEADER + "".join(f"{t},{v},{name},1,1\n" for t, v in keys for name in names)
    published = read_published(written(tmp_path, text))
    rows = [measured(c.num_steps, c.variance, c.strategy, 1.0, 1.0) for c in published]
    marked = [cell for cell in compare_with_published(rows, published) if cell.known_off]
    assert [(c.num_steps, c.variance, c.strategy) for c in marked] == [
        (32, variance, "sequential_consistency") for variance in (1.0, 2.0, 5.0)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T,lambda,strategy,mean\n", "first line must be T,lambda,strategy,mean,std"),
        ("", "first line must be"),
        (HEADER + "32,0.2,bot,1,1\n", "line 2: strategy 'bot' is none of vanilla"),
        (
            HEADER + "32,0.2,boot,1,1\n32,0.2,boot,one,1\n",
            "line 3: mean is 'one'",
        ),
        (HEADER + "32,0.2,boot,1\n", "line 2 has 4 fields of 5"),
        (HEADER + "32,0.2,boot,1,0\n", "line 2: std must be positive"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_published(written(tmp_path, text))


def test_a_table_without_any_cell_of_the_run_is_refused(tmp_path):
    path = written(tmp_path, HEADER + "32,0.2,boot,1,1\n16,0.2,vanilla,1,1\n")
    config = SimulateConfig(out=tmp_path, num_steps=(32,), strategies=("vanilla",), compare=path)
    with pytest.raises(ValueError, match="no T, variance and strategy of this run"):
        published_cells_of(config)
    (cell,) = published_cells_of(replace(config, num_steps=(16,)))
    assert (cell.num_steps, cell.strategy) == (16, "vanilla")
