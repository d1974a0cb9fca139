"""The list of attributes is read by names without endings; directions are mean differences."""

import re

import numpy as np
import pytest
import torch

from experiment.tensors import read_tensors
from experiment.write import sha256
from report.latents import report_latents
from report.samples import report_samples
from sampling.config import SampleConfig
from sampling.sample_faces import SAMPLES_FILE, SAMPLES_KIND, STRENGTHS, sample_faces
from vae.attributes import (
    ATTRIBUTES_FILE,
    Directions,
    find_directions,
    load_directions,
    read_attributes,
    save_directions,
)
from vae.checkpoint import embedded_vae
from vae.config import EncodeConfig
from vae.encode_latents import encode_latents

LIST = """\
3
5_o_Clock_Shadow Smiling Eyeglasses
000001.jpg -1  1 -1
000002.jpg  1 -1 -1
000003.jpg -1  1  1
"""
KAGGLE = """\
image_id,5_o_Clock_Shadow,Smiling,Eyeglasses
000001.jpg,-1,1,-1
000002.jpg,1,-1,-1
000003.jpg,-1,1,1
"""


@pytest.mark.parametrize(("name", "content"), [("list.txt", LIST), ("list.csv", KAGGLE)])
def test_both_forms_of_the_list_are_read_in_the_order_of_the_images(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    names, has = read_attributes(tmp_path / name, ["b/000003.png", "000001.jpg"])
    assert names == ("5_o_Clock_Shadow", "Smiling", "Eyeglasses")
    np.testing.assert_array_equal(has, [[False, True, True], [False, True, False]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "first line must be the number of images, 0, got ''"),
        (LIST.replace("3\n", "4\n", 1), "must be the number of images, 3, got '4'"),
        (LIST[:-12], "must be the number of images|has . values of 3"),
        (LIST.replace(" 1 -1 -1", " 1 -1"), "000002.jpg has 2 values of 3"),
        (LIST.replace(" 1 -1 -1", " 0 -1 -1"), "000002.jpg has the value '0', must be 1 or -1"),
        (LIST.replace("000002", "000003"), "has 000003 twice"),
        (LIST.replace("000002", "000009"), "has no line for 000002.jpg"),
        (LIST.replace("Eyeglasses", "Smiling"), "must be one or more different ones"),
        ("\x00\xff", "first line must be the number of images"),
    ],
)
def test_a_list_that_is_none_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as told:
        read_attributes(path, ["000001.jpg", "000002.jpg"])
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)


def test_a_direction_is_the_difference_of_the_means_with_and_without():
    rng = np.random.default_rng(0)
    codes, has = rng.standard_normal((50, 4)), rng.random((50, 3)) < 0.3
    has[:, 2] = False
    found = find_directions(("a", "b", "c"), has, torch.from_numpy(codes), "0")
    for place in (0, 1):
        mask = has[:, place]
        expected = codes[mask].mean(axis=0) - codes[~mask].mean(axis=0)
        np.testing.assert_allclose(found.directions[place], expected, rtol=1e-5, atol=1e-6)
    assert found.counts.tolist() == has.sum(axis=0).tolist()
    assert not found.directions[2].any()


def test_an_attribute_that_is_unknown_or_tells_nothing_apart_is_refused(tmp_path):
    directions, counts = torch.zeros(2, 3), torch.tensor([2, 0])
    found = Directions(("Smiling", "Male"), directions, counts, 4, "0")
    with pytest.raises(ValueError, match=r"did you mean Smiling\?"):
        found.of("smiling", tmp_path)
    with pytest.raises(ValueError, match="--attribute Male: 0 of 4 images have it"):
        found.of("Male", tmp_path)


def test_faces_are_moved_along_the_direction_of_encoded_images(image_folder, tmp_path):
    """All the way, with the embedded models: encode with a list, draw with an attribute."""
    images = sorted((image_folder / "img_align_celeba").iterdir())
    lines = [f"{path.name} {1 if i % 3 == 0 else -1}" for i, path in enumerate(images)]
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text("\n".join([str(len(images)), "Smiling", *lines]) + "\n")
    config = EncodeConfig(
        data=image_folder,
        out=tmp_path / "latents",
        attributes=path,
        device="cpu",
        cache=tmp_path / "cache",
    )
    latents = encode_latents(config)
    report_latents(config.out, latents)
    summary = (config.out / "summary.md").read_text(encoding="utf-8")
    assert re.search(r"\| Smiling \| 14 \| \d", summary)
    codes, smiling = latents.codes.double(), torch.arange(len(images)) % 3 == 0
    direction = codes[smiling].mean(dim=0) - codes[~smiling].mean(dim=0)

    flags = {"steps": 2, "count": 2, "device": "cpu"}
    plain = sample_faces(SampleConfig(out=tmp_path / "plain", **flags))
    config = SampleConfig(
        out=tmp_path / "run", attribute="Smiling", attributes=tmp_path / "latents", **flags
    )
    faces = sample_faces(config)
    assert len(faces) == 2 * len(STRENGTHS)
    torch.testing.assert_close(faces[2::5], plain, rtol=0, atol=1e-5)  # in the middle nothing moves
    tensors, _ = read_tensors(config.out / SAMPLES_FILE, SAMPLES_KIND, "draw again")
    moved = tensors["latents"].reshape(2, 5, -1).double()
    for place, strength in enumerate(STRENGTHS):
        found = moved[:, place] - moved[:, 2]
        torch.testing.assert_close(found[0], strength * direction, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1], strength * direction, rtol=1e-4, atol=1e-5)
    report_samples(config, faces)
    rows = (config.out / "results.csv").read_text().splitlines()
    assert rows[0] == "face,seed,to_seed,weight,strength"
    assert rows[1:3] == ["0,0,,,-2.0", "1,0,,,-1.0"]


def test_directions_of_another_vae_are_refused(tmp_path):
    found = Directions(("Smiling",), torch.ones(1, 128), torch.tensor([1]), 2, "0" * 64)
    save_directions(tmp_path / ATTRIBUTES_FILE, found)
    assert load_directions(tmp_path / ATTRIBUTES_FILE).names == ("Smiling",)
    assert sha256(embedded_vae()) != found.vae_sha256
    config = SampleConfig(
        out=tmp_path / "run", attribute="Smiling", attributes=tmp_path, device="cpu"
    )
    with pytest.raises(ValueError, match="of another VAE; encode again"):
        sample_faces(config)
    assert not config.out.exists()


@pytest.mark.parametrize(
    "flags",
    [
        {"attribute": "Smiling"},
        {"attributes": "."},
        {"attribute": "Smiling", "attributes": ".", "interpolate": (0, 1)},
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path, flags):
    with pytest.raises(ValueError, match="--attribute"):
        SampleConfig(out=tmp_path / "run", **flags)
