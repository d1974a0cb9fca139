"""Plans and budgets of neural students, how they are measured, and how theory is judged."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from diffusion.schedule import cosine_schedule
from neural.law import Law, predict_errors
from neural.measure import Reference, affine_parts, score
from neural.ranking import kendall_tau, named_by, regret, tally, winner
from neural.student_plans import forwards, student_plans, updates_per_merge
from planner.plan import merges, num_merges
from planner.strategies import CANONICAL, sequential_boot, vanilla

T = 16


@pytest.mark.parametrize("make", CANONICAL.values())
@pytest.mark.parametrize("student_steps", [1, 2, 3, 5, 16])
def test_the_plans_of_a_student_tile_all_teacher_steps_in_equal_shares(make, student_steps):
    plans = student_plans(make, T, student_steps)
    ends = [plans[0].start, *(plan.stop for plan in plans)]
    assert ends[0] == T
    assert ends[-1] == 0
    assert [plan.start for plan in plans[1:]] == ends[1:-1]
    sizes = [plan.start - plan.stop for plan in plans]
    assert max(sizes) - min(sizes) <= 1


def test_a_share_keeps_the_shape_of_its_strategy():
    noisiest, _ = student_plans(sequential_boot, 8, 2)
    assert [(merge.start, merge.stop) for merge in merges(noisiest)] == [(8, 6), (8, 5), (8, 4)]


@pytest.mark.parametrize(("steps", "expected"), [(30, 118), (100, 394), (300, 1184)])
def test_equal_compute_counts_the_forwards_of_the_parts(steps, expected):
    """16 + 3 forwards an update against 15 merges of 2 + 3; rounded down, so never above."""
    plans = student_plans(vanilla, T, 1)
    assert forwards(plans, 1) == 19
    assert updates_per_merge("compute", plans, steps, T) == expected
    assert updates_per_merge("total", plans, steps, T) == 15 * steps


@pytest.mark.parametrize("make", CANONICAL.values())
@pytest.mark.parametrize("student_steps", [1, 2, 4])
def test_no_plan_spends_more_than_its_budget(make, student_steps):
    plans = student_plans(make, T, student_steps)
    merged = sum(map(num_merges, plans))
    assert merged * updates_per_merge("total", plans, 30, T) <= 15 * 30
    assert forwards(plans, updates_per_merge("compute", plans, 30, T)) <= 15 * 30 * 5
    assert updates_per_merge("per_merge", plans, 30, T) == 30


def test_a_student_of_all_steps_trains_nothing():
    assert updates_per_merge("total", student_plans(vanilla, T, T), 30, T) == 0


def test_scores_are_what_they_say_for_a_known_error():
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    teacher = noise * torch.tensor([1.0, 2.0])
    bend = 0.3 * (noise.square() - 1.0)  # uncorrelated with the noise itself
    students = torch.stack([teacher + 0.1 * noise, teacher + bend, teacher + 0.5])
    found = score(Reference(noise, torch.stack([teacher] * 3)), students)
    np.testing.assert_allclose(found.error, [0.02 / 5, 0.36 / 5, 0.5 / 5], rtol=0.05)
    np.testing.assert_allclose(found.linear + found.nonlinear, found.error, rtol=1e-9)
    np.testing.assert_allclose(found.linear[[0, 2]], found.error[[0, 2]], rtol=1e-5)
    assert found.linear[1] < 0.01 * found.error[1]
    # A shift by v costs |v|**2 / d along random directions, whatever the cloud is.
    np.testing.assert_allclose(found.sliced_w2[2], 0.25 / 5, rtol=0.25)


def test_the_affine_part_is_the_regression_of_each_member_alone():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(50, 3, generator=generator)
    values = torch.randn(2, 50, 3, generator=generator).double()
    linear, nonlinear = affine_parts(values, noise)
    design = np.column_stack([noise.numpy(), np.ones(50)])
    for member in range(2):
        residuals = np.linalg.lstsq(design, values[member].numpy(), rcond=None)[1]
        assert nonlinear[member].item() == pytest.approx(residuals.sum() / 50, rel=1e-6)
    torch.testing.assert_close(linear + nonlinear, values.square().sum(dim=2).mean(dim=1))


def test_tau_is_scipys_where_all_pairs_are_apart():
    rng = np.random.default_rng(0)
    names = "abcdef"
    for _ in range(20):
        measured = dict(zip(names, 2.0 ** rng.permutation(6), strict=True))
        predicted = dict(zip(names, 2.0 ** rng.permutation(6), strict=True))
        expected = kendalltau([*measured.values()], [*predicted.values()]).statistic
        assert kendall_tau(measured, predicted) == pytest.approx(expected)


def test_errors_within_ten_percent_have_no_order():
    measured = {"a": 1.0, "b": 1.09, "c": 2.0}
    assert winner(measured) is None
    assert kendall_tau(measured, {"a": 2.0, "b": 1.0, "c": 3.0}) == 1.0
    assert winner({"a": 1.0, "b": 1.11}) == "a"
    assert kendall_tau({"a": 1.0, "b": 1.05}, {"a": 1.0, "b": 2.0}) is None


def test_predictions_that_are_rounding_name_all_of_them():
    predicted = {"a": 3e-31, "b": 1e-28, "c": 0.1}
    assert named_by(predicted) == ["a", "b"]
    assert named_by({"a": 0.2, "b": 0.1}) == ["b"]
    assert regret({"a": 1.0, "b": 3.0, "c": 5.0}, ["a", "b"]) == 3.0


def test_a_tally_counts_hits_among_winners_and_regret_over_all_cells():
    cells = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.05}, {"a": 4.0, "b": 1.0}]
    found = tally(cells, [["a"], ["b"], ["a"]])
    assert (found.cells, found.winners, found.hits) == (3, 2, 1)
    assert found.max_regret == 4.0


def law(parametrisation="denoiser", loss="x_0", optimizer="sgd"):
    variances = np.array([0.17, 1.55])
    return Law(cosine_schedule(T), variances, parametrisation, loss, "x_0", optimizer)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_law_gives_vanilla_the_error_it_was_fitted_on(optimizer):
    plans = {name: student_plans(make, T, 1) for name, make in CANONICAL.items()}
    found = predict_errors(law(optimizer=optimizer), plans, dict.fromkeys(plans, 30), 0.05)
    assert found["vanilla"] == pytest.approx(0.05, rel=1e-6)
    assert "sequential_boot" in named_by(found)  # it is optimal for every variance


def test_under_a_z_loss_vanilla_leads_at_these_variances():
    plans = {name: student_plans(make, T, 1) for name, make in CANONICAL.items()}
    found = predict_errors(law(loss="z"), plans, dict.fromkeys(plans, 30), 0.05)
    assert min(found, key=found.__getitem__) == "vanilla"


def test_there_is_no_law_for_adam_under_operator():
    plans = {name: student_plans(make, T, 1) for name, make in CANONICAL.items()}
    unknown = law("operator", "z", "adam")
    assert predict_errors(unknown, plans, dict.fromkeys(plans, 30), 0.05) is None


@pytest.mark.parametrize("parametrisation", ["denoiser", "operator"])
def test_a_student_that_trains_for_long_is_the_teacher(parametrisation):
    long = law(parametrisation, "x_0" if parametrisation == "denoiser" else "z")
    for make in CANONICAL.values():
        assert long.error([make(T)], 1e6) < 1e-20
