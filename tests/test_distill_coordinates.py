"""Which coordinates latents are planned in, and what plans they give."""

import numpy as np
import pytest

import distill.coordinates
from distill.config import ROTATION_FILE, PlanConfig
from distill.coordinates import choose_coordinates, load_rotation
from distill.plan_merges import plan_merges
from planner.plan_file import read_plans
from report.gaussianity import assumption_text
from tests.test_distill_rotation import correlated, save_both
from vae.checkpoint import embedded_vae
from vae.latents import LATENTS_FILE, load_latents

VARIANCES = np.array([2.2, 1.3, 0.7, 0.3, 0.2, 0.1])


@pytest.fixture
def files(tmp_path):
    """The same Gaussian in its own coordinates and in rotated ones."""
    save_both(tmp_path, 900, VARIANCES)
    return tmp_path


def plan(files, name, **flags):
    config = PlanConfig(out=files / f"{name}_run", latents=files / f"{name}.npy", num_steps=8)
    config = PlanConfig(**(vars(config) | flags))
    return plan_merges(config, lambda line: None)[0]


def test_a_rotated_gaussian_has_the_plans_and_errors_of_the_diagonal_one(files):
    rotated, diagonal = plan(files, "rotated").plan_set, plan(files, "diagonal").plan_set
    np.testing.assert_allclose(np.sort(rotated.variances), np.sort(diagonal.variances), rtol=1e-10)
    for name, found in diagonal.strategies.items():
        assert rotated.strategies[name].w2_squared == pytest.approx(found.w2_squared, rel=1e-9)
        if name != "per_dimension":
            assert rotated.plans[name][0] == found.plans[0]
    assert not (files / "diagonal_run" / ROTATION_FILE).exists()


def test_the_rotation_is_kept_and_turns_the_latents_into_the_planned_coordinates(files):
    plan(files, "rotated")
    rotation, variances, _ = load_rotation(files / "rotated_run" / ROTATION_FILE, 6)
    codes = np.load(files / "rotated.npy").reshape(900, 6)
    planned = rotation.into(codes - codes.mean(axis=0))
    np.testing.assert_allclose(planned.T @ planned / 900, np.diag(variances), atol=1e-6)
    np.testing.assert_array_equal(
        variances, read_plans(files / "rotated_run" / "plans.json").variances
    )


def test_off_and_on_are_obeyed_and_recorded_so_that_resuming_keeps_to_them(files):
    own = plan(files, "rotated", rotate="off")
    codes = np.load(files / "rotated.npy").reshape(900, 6)
    np.testing.assert_allclose(own.plan_set.variances, codes.var(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"another run's results \(config.rotate is off there"):
        plan(files, "rotated")
    assert plan(files, "diagonal", rotate="on").gaussianity.rank == 6


def test_the_rotation_of_an_earlier_run_is_taken_and_not_computed_again(files, monkeypatch):
    first = plan(files, "rotated").plan_set.variances
    monkeypatch.setattr(distill.coordinates, "eigen_rotation", None)
    np.testing.assert_array_equal(plan(files, "rotated").plan_set.variances, first)


def test_the_embedded_latents_are_not_rotated():
    latents = load_latents(embedded_vae().with_name(LATENTS_FILE))
    found = choose_coordinates(latents, "auto")
    assert found.rotation is None
    np.testing.assert_array_equal(found.variances, latents.variances)
    said = assumption_text(found.gaussianity)
    assert "these latents are near to that, as far as moments tell" in said
    assert "not known whether the coordinates are normal" in said


def test_many_coordinates_take_principal_directions_and_a_diagonal(tmp_path, monkeypatch):
    monkeypatch.setattr("vae.latents.MOST_FULL", 5)
    monkeypatch.setattr("distill.coordinates.RANK", 3)
    rows, _ = correlated(900, np.array([9.0, 4.0, 2.0, *[0.1] * 30]))
    np.save(tmp_path / "wide.npy", rows)
    lines = []
    found = choose_coordinates(load_latents(tmp_path / "wide.npy"), "auto", lines.append)
    assert "rotating into 3 principal directions" in lines[0]
    np.testing.assert_allclose(found.variances[:3], [9.0, 4.0, 2.0], rtol=1e-4)
    assert found.gaussianity.left < 0.02 < 0.5 < found.gaussianity.off_diagonal


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows, "which these latents have only after a rotation"),
        (lambda rows: np.exp(rows - 3.0), "which these latents do not have"),
        (lambda rows: rows[:50], "50 latents are too few to tell"),
    ],
)
def test_what_does_not_hold_is_said_first(files, change, said):
    np.save(files / "other.npy", change(np.load(files / "rotated.npy")))
    latents = load_latents(files / "other.npy")
    text = assumption_text(choose_coordinates(latents, "auto").gaussianity)
    assert text.startswith("Planning assumes independent Gaussian coordinates")
    assert said in text.partition(".")[0]


def test_fewer_latents_than_coordinates_are_told(tmp_path):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((120, 200)))
    text = assumption_text(choose_coordinates(load_latents(tmp_path / "few.npy"), "on").gaussianity)
    assert "fewer latents than coordinates (120 < 200)" in text
    assert "covariance has a rank below 120 and 81 planned coordinates have no variance" in text
    assert "from 0 to 5.2 times their size" in text
