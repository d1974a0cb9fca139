"""Faces between two noises, and faces as single images."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from experiment.tensors import read_tensors
from report.samples import report_samples
from sampling.config import SampleConfig
from sampling.interpolate import arc
from sampling.sample_faces import SAMPLES_FILE, SAMPLES_KIND, sample_faces

QUICK = {"steps": 2, "device": "cpu"}  # with the embedded models


def test_the_arc_between_orthogonal_vectors_is_a_quarter_circle():
    weights = torch.tensor([0.0, 1 / 3, 1.0])
    found = arc(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), weights)
    expected = [[2.0, 0.0], [math.sqrt(3), 1.0], [0.0, 2.0]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_the_angle_is_travelled_at_constant_speed():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, generator=generator).double()
    a, b = a / a.norm(), b / b.norm()  # on the unit sphere, at any angle
    path = arc(a, b, torch.linspace(0, 1, 6))
    torch.testing.assert_close(path.norm(dim=1), torch.ones(6).double())
    steps = torch.arccos((path[1:] * path[:-1]).sum(dim=1))
    torch.testing.assert_close(steps, (torch.arccos(a @ b) / 5).expand(5))


def test_what_lies_between_two_noises_is_as_long_as_noise_and_the_straight_line_is_not():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 200, 128, generator=generator)
    middle = arc(a, b, torch.tensor([0.5]))[0]
    # Mean squares of 200 x 128 normal numbers: standard error 0.009.
    assert middle.square().mean().item() == pytest.approx(1.0, abs=0.04)
    assert ((a + b) / 2).square().mean().item() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm_small"])
def test_the_ends_are_the_faces_of_the_two_noises(tmp_path, sampler):
    flags = {"sampler": sampler} | QUICK
    plain = sample_faces(SampleConfig(out=tmp_path / "plain", count=4, **flags))
    config = SampleConfig(out=tmp_path / "between", count=5, interpolate=(3, 1), **flags)
    between = sample_faces(config)
    torch.testing.assert_close(between[[0, -1]], plain[[3, 1]], rtol=0, atol=1e-5)
    tensors, _ = read_tensors(config.out / SAMPLES_FILE, SAMPLES_KIND, "draw again")
    moved = tensors["latents"].diff(dim=0).norm(dim=1)
    assert moved.min() > 0
    assert moved.max() < (tensors["latents"][0] - tensors["latents"][-1]).norm()
    report_samples(config, between)
    with (config.out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["to_seed"], float(row["weight"])) for row in rows] == [
        ("3", "1", weight) for weight in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]


def test_single_images_are_the_faces(tmp_path):
    config = SampleConfig(out=tmp_path / "run", count=3, png=tmp_path / "png", **QUICK)
    sample_faces(config)
    tensors, _ = read_tensors(config.out / SAMPLES_FILE, SAMPLES_KIND, "draw again")
    paths = sorted(config.png.iterdir())
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    for path, pixels in zip(paths, tensors["images"].numpy(), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    # The same again, into the same folder, in which a killed process left an unfinished image.
    (config.png / ".000001.png.4711.tmp").touch()
    sample_faces(config)
    assert len(list(config.png.iterdir())) == 3


def test_a_folder_with_other_images_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "000003.png").write_text("another face")
    config = SampleConfig(out=tmp_path / "run", count=3, png=tmp_path / "png", **QUICK)
    with pytest.raises(ValueError, match=r"holds 000003.png, which is none of these faces"):
        sample_faces(config)
    assert [path.name for path in config.png.iterdir()] == ["000003.png"]
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"interpolate": (2, 2)}, "two different noises"),
        ({"interpolate": (0, -1)}, "--interpolate must be from 0"),
        ({"interpolate": (0, 1), "count": 1}, "--count of at least 2"),
    ],
)
def test_two_ends_are_needed(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        SampleConfig(out=tmp_path / "run", **flags)
