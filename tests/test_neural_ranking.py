"""Plans and budgets of neural students, how they are measured, and how theory is judged."""

import itertools

import numpy as np
import pytest
import scipy
import torch

from diffusion.schedule import cosine_schedule
from neural.law import best_plans, fit_step_time, predict_errors, predicted_error, theory_of
from neural.measure import Reference, affine_parts, score
from neural.ranking import kendall_tau, named_by, regret, tally, winner
from neural.student_plans import forwards, updates_per_merge
from planner.plan import merges, num_merges
from planner.strategies import CANONICAL, equal_shares, plans_by_share, sequential_boot, vanilla
from tests.brute_force import every_plan

T = 16


@pytest.mark.parametrize("make", CANONICAL.values())
@pytest.mark.parametrize("student_steps", [1, 2, 3, 5, 16])
def test_the_plans_of_a_student_tile_all_teacher_steps_in_equal_shares(make, student_steps):
    plans = plans_by_share(make, T, student_steps)
    ends = [plans[0].start, *(plan.stop for plan in plans)]
    assert ends[0] == T
    assert ends[-1] == 0
    assert [plan.start for plan in plans[1:]] == ends[1:-1]
    sizes = [plan.start - plan.stop for plan in plans]
    assert max(sizes) - min(sizes) <= 1


def test_a_share_keeps_the_shape_of_its_strategy():
    noisiest, _ = plans_by_share(sequential_boot, 8, 2)
    assert [(merge.start, merge.stop) for merge in merges(noisiest)] == [(8, 6), (8, 5), (8, 4)]


@pytest.mark.parametrize(("steps", "expected"), [(30, 118), (100, 394), (300, 1184)])
def test_equal_compute_counts_the_forwards_of_the_parts(steps, expected):
    """16 + 3 forwards an update against 15 merges of 2 + 3; rounded down, so never above."""
    plans = plans_by_share(vanilla, T, 1)
    assert forwards(plans, 1) == 19
    assert updates_per_merge("compute", plans, steps, T) == expected
    assert updates_per_merge("total", plans, steps, T) == 15 * steps


@pytest.mark.parametrize("make", CANONICAL.values())
@pytest.mark.parametrize("student_steps", [1, 2, 4])
def test_no_plan_spends_more_than_its_budget(make, student_steps):
    plans = plans_by_share(make, T, student_steps)
    merged = sum(map(num_merges, plans))
    assert merged * updates_per_merge("total", plans, 30, T) <= 15 * 30
    assert forwards(plans, updates_per_merge("compute", plans, 30, T)) <= 15 * 30 * 5
    assert updates_per_merge("per_merge", plans, 30, T) == 30


def test_a_student_of_all_steps_trains_nothing():
    assert updates_per_merge("total", plans_by_share(vanilla, T, T), 30, T) == 0


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
        expected = scipy.stats.kendalltau([*measured.values()], [*predicted.values()]).statistic
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


def theory(parametrisation="denoiser", loss="x_0", optimizer="sgd"):
    variances = np.array([0.17, 1.55])
    return theory_of(cosine_schedule(T), variances, parametrisation, loss, "x_0", optimizer)


PLANS = {name: plans_by_share(make, T, 1) for name, make in CANONICAL.items()}


def predicted(problem, error=0.05):
    """Errors of all canonical strategies after 30 steps per merge, fitted on vanilla's."""
    step_time = fit_step_time(problem, PLANS["vanilla"], 30, error)
    return predict_errors(problem, PLANS, dict.fromkeys(PLANS, 30), step_time)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_law_gives_vanilla_the_error_it_was_fitted_on(optimizer):
    found = predicted(theory(optimizer=optimizer))
    assert found["vanilla"] == pytest.approx(0.05, rel=1e-6)
    assert "sequential_boot" in named_by(found)  # it is optimal for every variance


def test_under_a_z_loss_vanilla_leads_at_these_variances():
    found = predicted(theory(loss="z"))
    assert min(found, key=found.__getitem__) == "vanilla"


def test_there_is_no_law_for_adam_under_operator():
    assert theory("operator", "z", "adam") is None


def test_vanilla_that_diverged_or_has_no_merge_fits_nothing():
    assert fit_step_time(theory(), PLANS["vanilla"], 30, np.inf) is None
    assert fit_step_time(theory(), plans_by_share(vanilla, T, T), 0, 0.0) is None


@pytest.mark.parametrize("parametrisation", ["denoiser", "operator"])
def test_a_student_that_trains_for_long_is_the_teacher(parametrisation):
    long = theory(parametrisation, "x_0" if parametrisation == "denoiser" else "z")
    for make in CANONICAL.values():
        assert predicted_error(long, [make(T)], 1e6) < 1e-20


def test_the_planned_plan_is_what_theory_proves_optimal():
    """BOOT per merge with an x_0 loss, vanilla where the total is shared; for one step or two."""
    for student_steps in (1, 2):
        planned = best_plans(theory(), student_steps, lambda plans: 30, 1e-3)
        assert planned == plans_by_share(sequential_boot, T, student_steps)
        shared = best_plans(
            theory(), student_steps, lambda plans: updates_per_merge("total", plans, 30, T), 1e-3
        )
        assert shared == plans_by_share(vanilla, T, student_steps)


@pytest.mark.parametrize("student_steps", [1, 2, 3])
def test_no_enumerated_plan_has_a_lower_error_than_the_planned_one(student_steps):
    """Per merge, against every plan of every share, one coordinate at a time."""
    num_steps, step_time = 6, 0.01
    for kind, loss, variance in (
        ("denoiser", "z", 0.1),
        ("denoiser", "x_0", 3.0),
        ("operator", "z", 0.3),
    ):
        problem = theory_of(
            cosine_schedule(num_steps), np.array([variance]), kind, loss, "x_0", "sgd"
        )
        planned = best_plans(problem, student_steps, lambda plans: 30, step_time)
        found = predicted_error(problem, planned, 30 * step_time)
        shares = equal_shares(num_steps, student_steps)
        every = itertools.product(*(every_plan(stop + 1, start) for start, stop in shares))
        least = min(predicted_error(problem, plans, 30 * step_time) for plans in every)
        assert found == pytest.approx(least, rel=1e-12)
