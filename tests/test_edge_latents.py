"""Latents at the edges, through the commands: right, or refused in one line, and never nan."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import mergelab as ml
from diffusion.schedule import cosine_schedule
from distill.compare_strategies import compare_strategies
from distill.config import CompareConfig
from distill.inputs import latent_inputs
from distill.recommend import recommend
from distill.results import tabulate
from sampling.config import TrainConfig
from sampling.estimator_file import ESTIMATOR_FILE, load_estimator
from sampling.train_noise_estimator import train_noise_estimator
from tests.conftest import draw_image
from vae.checkpoint import VAE_FILE, save_vae
from vae.config import EncodeConfig
from vae.encode_latents import encode_latents
from vae.latents import LATENTS_FILE, load_latents, save_latents
from vae.model import VAE

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

ROWS = np.random.default_rng(0).normal(size=(300, 2))
# Latents, and a learning rate at which gradient steps on them are stable and short.
EDGES = {
    "one coordinate": (ROWS[:, :1], 1e-3),
    "two rows": (np.array([[1.0, 2.0], [-1.0, -3.0]]), 1e-3),
    "two large rows": (np.array([[1e6, 1.0], [-1e6, -1.0]]), 1e-15),
    "variances 1e12, 1 and 1e-12": (np.c_[ROWS, ROWS[::-1, :1]] * [1e6, 1.0, 1e-6], 1e-14),
    "the largest": (ROWS * 0.9e15, 1e-32),
    "the smallest": (ROWS * 1.1e-15, 1e-3),
    "a constant coordinate": (np.c_[ROWS, np.ones(300)], 1e-3),
    "a large mean": (ROWS + 1e9, 1e-3),
    "one direction": (ROWS[:, :1] * np.ones(3), 1e-3),
}


@pytest.mark.parametrize("engine", ["sgd", "closed_form"])
@pytest.mark.parametrize("name", EDGES)
def test_students_of_latents_at_the_edges_end_where_theory_says(tmp_path, name, engine):
    rows, lr = EDGES[name]
    np.save(tmp_path / "edge.npy", rows)
    config = CompareConfig(
        out=tmp_path / "run",
        latents=tmp_path / "edge.npy",
        num_steps=3,
        steps_per_merge=(2,),
        batch_size=512,
        lr=lr,
        engine=engine,
        device="cpu",
    )
    comparison = compare_strategies(config)
    found = tabulate(comparison, num_images=1, seed=0)
    size = np.abs(comparison.problem.target).max()
    for students, row in zip(comparison.students.values(), found, strict=True):
        # A batch of 512 has a spread of 6 %, which the shrinkages pass on.
        np.testing.assert_allclose(students.operator, students.predicted, atol=0.2 * (1 + size))
        values = [value for value in vars(row).values() if isinstance(value, float)]
        assert np.isfinite(values).all()
        assert row.largest_deviation < 6
    advice = recommend([row for row in found if row.budget == "per_merge"])
    assert advice.advantage is None or -1e-3 <= advice.advantage <= 1


@pytest.mark.parametrize("name", EDGES)
def test_the_variances_of_latents_at_the_edges_are_those_of_twice_the_digits(name):
    rows, _ = EDGES[name]
    long = rows.astype(np.longdouble)
    exact = np.square(long - long.mean(axis=0)).mean(axis=0)
    plans = ml.plan(rows, num_steps=3, rotate="off", progress=False)
    np.testing.assert_allclose(plans.problem.variances, exact.astype(np.float64), rtol=1e-9)
    assert all(np.isfinite(found.w2_squared) for found in plans.strategies.values())
    assert np.isfinite(plans.sample(count=3)).all()


def test_two_equally_likely_values_have_batches_of_a_known_mean_square():
    """Their squares do not vary, and rounding must not make the spread of them negative."""
    x_0 = torch.tensor([[1e6], [-1e6]])
    inputs = latent_inputs(cosine_schedule(4), x_0, batch_size=8, seed=0)
    assert (inputs.relative_spreads > 0).all()
    np.testing.assert_allclose(inputs.relative_spreads[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(inputs.relative_spreads[-1], 2.0)  # pure noise


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (np.ones((40, 3)), "all 40 rows are equal, so no coordinate varies"),
        (ROWS * 1e-160, r"its numbers are too small: the largest variance is 1\.\d+e-320"),
        (ROWS * 1e-16, "its numbers are too small: the largest variance is .*; multiply them by"),
        (ROWS * 1e16, "its numbers are too large: the largest variance is .*; divide them by"),
        (ROWS * 1e200, "its numbers are too large: the largest variance is beyond float64, must"),
    ],
)
def test_latents_that_nothing_can_be_planned_for_are_refused_in_words(rows, fault):
    with pytest.raises(ValueError, match=fault):
        ml.plan(rows, num_steps=3, progress=False)


def test_equal_latents_of_our_own_file_are_refused(model_run, tmp_path):
    found = load_latents(model_run[1])
    equal = replace(found, covariance=torch.zeros_like(found.covariance), codes=None, splits=None)
    save_latents(tmp_path / LATENTS_FILE, equal)
    with pytest.raises(ValueError, match="all 500 rows are equal, so no coordinate varies"):
        load_latents(tmp_path)


def test_images_that_are_all_equal_are_refused_by_the_encoder(tmp_path):
    (tmp_path / "faces").mkdir()
    for i in range(3):
        draw_image(0).save(tmp_path / "faces" / f"{i}.png")
    torch.manual_seed(0)
    save_vae(tmp_path / VAE_FILE, VAE(32))
    config = EncodeConfig(
        data=tmp_path / "faces",
        vae=tmp_path / VAE_FILE,
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        device="cpu",
    )
    with pytest.raises(ValueError, match=r"faces: not images with .*; give --data other images"):
        encode_latents(config)
    assert not (tmp_path / "out" / LATENTS_FILE).exists()


SMALL = {"gradient_steps": 3, "batch_size": 8, "num_levels": 10, "width": 8, "depth": 1}


def test_a_noise_estimator_learns_one_coordinate(tmp_path, monkeypatch):
    monkeypatch.setattr("sampling.train.COUNT", 512)
    np.save(tmp_path / "one.npy", ROWS[:, :1])
    config = TrainConfig(tmp_path / "one.npy", tmp_path / "run", device="cpu", **SMALL)
    train_noise_estimator(config)
    model, _ = load_estimator(tmp_path / "run" / ESTIMATOR_FILE)
    assert model.variances.shape == (1,)
    assert model.variances.item() == pytest.approx(1.0, abs=0.2)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert np.isfinite(list(row.values())).all()


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (ROWS * 1e-4, "the largest variance is .*e-08, .* takes from 1e-06 to 1e.06; multiply"),
        (ROWS * 1e4, r"the largest variance is .*e\+08, .* takes from 1e-06 to 1e.06; multiply"),
        (ROWS + 1e6, r"the largest mean is 1e\+06 and the largest deviation .*; subtract the mean"),
    ],
)
def test_a_noise_estimator_refuses_latents_that_its_numbers_cannot_follow(tmp_path, rows, fault):
    np.save(tmp_path / "odd.npy", rows)
    config = TrainConfig(tmp_path / "odd.npy", tmp_path / "run", device="cpu", **SMALL)
    with pytest.raises(ValueError, match=rf"odd\.npy: {fault}"):
        train_noise_estimator(config)
    assert not (tmp_path / "run").exists()
