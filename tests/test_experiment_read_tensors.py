"""Readers of safetensors: damage is told in one line, or harmless; what was written comes back."""

import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion.covariance import Eigenbasis
from diffusion.schedule import flow_schedule
from distill.comparison import (
    INDEX_NAME,
    load_index,
    load_students,
    save_index,
    save_students,
)
from distill.jobs import Case, Students
from distill.synthetic import Cells, load_cells, save_cells
from experiment.read import read_json, reading
from experiment.tensors import read_tensors, write_tensors
from planner.budget import Stage
from sampling.estimator_file import Trained, load_estimator, save_estimator
from sampling.noise_estimator import NoiseEstimator
from tests.damage import READER, outcome, spoilt_safetensors
from vae.checkpoint import load_vae, save_vae
from vae.latents import Latents, load_latents, moments, save_latents
from vae.model import LATENT_DIM, VAE

DRAW = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(shape, generator=DRAW)


def some_vae(path):
    torch.manual_seed(0)
    save_vae(path, VAE(32))


def some_estimator(path):
    torch.manual_seed(0)
    data = Eigenbasis(np.zeros(3), np.array([0.2, 0.5, 1.5]), np.eye(3))
    save_estimator(
        path, NoiseEstimator(data, 4, 2), Trained(4, 2, 10, 3, "ab", "cd", "edm", 0.002, 1.55)
    )


def some_latents(path):
    codes = random(6, LATENT_DIM)
    mean, covariance = moments(codes)
    splits = torch.tensor([0, 0, 0, 1, 1, 2], dtype=torch.uint8)
    latents = Latents(mean, covariance, 6, "ab", "cd", codes=codes, splits=splits)
    save_latents(path, latents)


def some_students(path):
    arrays = [random(n).double().abs().numpy() for n in (3, 3, 3, 3, 5)]
    save_students(path, Students("closed_form", 3, 2, 600, 0.25, *arrays))


def some_index(path):
    latents = Latents(random(3).double(), torch.eye(3).double(), 6, "ab", "cd")
    jobs = {Case("vanilla", Stage(budget, 10), 0): "a_job" for budget in ("per_merge", "total")}
    save_index(path.parent, latents, flow_schedule(4), jobs)
    (path.parent / INDEX_NAME).replace(path)


def some_cells(path):
    save_cells(path, Cells(random(4, 3).double().numpy(), random(3).double().numpy()))


def network_is_finite(network, x):
    with torch.no_grad():
        assert network(x).isfinite().all()


def estimates_are_finite(found):
    model, trained = found
    estimate = model.denoise(torch.ones(1, trained.latent_dim), 0.6, 0.8)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    # A weight of 1e30 is finite and may overflow further on; without such there are numbers.
    if all(tensor.abs().max() < 1e3 for tensor in model.state_dict().values()):
        assert estimate.x_0.isfinite().all()


def faces_are_finite(model):
    tensors = model.state_dict().values()
    assert all(tensor.isfinite().all() for tensor in tensors)
    if all(tensor.abs().max() < 1e3 for tensor in tensors):
        with torch.no_grad():
            assert model.decode(torch.zeros(1, LATENT_DIM)).isfinite().all()


def latents_are_numbers(latents):
    assert latents.mean.isfinite().all()
    assert latents.covariance.isfinite().all()
    assert (latents.variances >= 0).all()
    if latents.codes is not None:
        assert len(latents.codes) == len(latents.splits) == latents.count
        assert latents.codes.isfinite().all()
        assert latents.splits.max() < 3


def students_are_numbers(students):
    arrays = [value for value in vars(students).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 5
    assert all(np.isfinite(array).all() for array in arrays)
    assert (students.spread >= 0).all()


def index_is_whole(index):
    assert len(index.mean) == len(index.covariance)
    assert all(Path(job).name == job for job in index.jobs.values())
    assert all(case.stage.steps_per_merge >= 1 for case in index.jobs)


def cells_are_numbers(cells):
    assert cells.errors.shape == (4, 3)
    assert np.isfinite(cells.errors).all()
    assert np.isfinite(cells.predicted).all()


READERS = {  # name -> writer, reader, what holds for all that is read
    "vae": (some_vae, load_vae, faces_are_finite),
    "estimator": (some_estimator, load_estimator, estimates_are_finite),
    "latents": (some_latents, load_latents, latents_are_numbers),
    "students": (some_students, lambda path: load_students(path, 3), students_are_numbers),
    "index": (some_index, load_index, index_is_whole),
    "cells": (some_cells, lambda path: load_cells(path, 4, 3), cells_are_numbers),
}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Name -> the bytes of a whole file."""
    folder = tmp_path_factory.mktemp("whole")
    for name, (write, _, _) in READERS.items():
        write(folder / name)
    return {name: (folder / name).read_bytes() for name in READERS}


@pytest.mark.parametrize("name", READERS)
@READER
@given(data=st.data())
def test_a_spoilt_file_is_told_or_harmless(name, wholes, tmp_path, data):
    _, read, check = READERS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(spoilt_safetensors(wholes[name])))
    found = outcome(read, path)
    if found is not None:
        check(found)


@pytest.mark.parametrize("name", READERS)
def test_nothing_a_folder_and_another_kind_are_told(name, wholes, tmp_path):
    _, read, check = READERS[name]
    path = tmp_path / name
    assert outcome(read, path) is None
    path.write_bytes(wholes["cells" if name == "students" else "students"])
    assert outcome(read, path) is None
    path.write_bytes(wholes[name])
    check(read(path))
    path.unlink()
    path.mkdir()
    assert outcome(read, path) is None


@pytest.mark.parametrize("dtype", ["F4", "F8_E4M3", "F8_E8M0", "BF16", "F32", "C64", "U64", "X"])
@pytest.mark.parametrize("shape", [[2], [4], [32], [0, 2**62, 2**62], [2**63, 0], [-1], [1.5], []])
@pytest.mark.parametrize("size", [0, 4, 16])
def test_types_and_shapes_that_no_tensor_has_are_told(tmp_path, dtype, shape, size):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"kind": "a kind"}, "a": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    outcome(lambda path: read_tensors(path, "a kind", "copy it again"), path)


@READER
@given(
    tensors=st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.tuples(
            st.sampled_from([torch.float16, torch.bfloat16, torch.float64, torch.int64]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=3,
    ),
    facts=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_tensors_and_metadata_are_read_as_written(tmp_path, tensors, facts):
    path = tmp_path / "a.safetensors"
    written = {name: (9 * random(*shape)).to(dtype) for name, (dtype, shape) in tensors.items()}
    write_tensors(path, written, facts | {"kind": "a kind"})
    found, metadata = read_tensors(path, "a kind", "copy it again")
    assert metadata == facts | {"kind": "a kind"}
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@READER
@given(st.data())
def test_students_are_read_as_written(tmp_path, data):
    width, runs = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 4))
    arrays = [
        np.array(data.draw(st.lists(st.floats(0, 1e300), min_size=n, max_size=n)))
        for n in (width, width, width, width, runs)
    ]
    counts = data.draw(st.tuples(*[st.integers(0, 2**40)] * 3))
    written = Students("sgd", *counts, data.draw(st.floats(0, 1e9)), *arrays)
    save_students(tmp_path / "a.safetensors", written)
    found = load_students(tmp_path / "a.safetensors", width)
    for field in fields(Students):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(written, field.name))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x93NUMPY\x01\x00", "a NumPy file"),
        (b"PK\x03\x04", "a zip"),
        (b"\x89PNG\r\n", "a PNG image"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of git-lfs"),
    ],
)
def test_a_file_of_another_format_is_called_by_its_name(tmp_path, start, name):
    path = tmp_path / "given"
    path.write_bytes(start + bytes(40))
    with pytest.raises(ValueError, match=f"given: is {name}.*, expected safetensors of faces"):
        read_tensors(path, "faces", "hint")


def test_a_binary_file_in_place_of_text_is_called_by_its_name(tmp_path):
    path = tmp_path / "schedule.json"
    for content, name in (
        (b"\x93NUMPY\x01\x00", "a NumPy file"),
        (b"ab\xff", "byte 2 is not UTF-8"),
    ):
        path.write_bytes(content)
        with (
            pytest.raises(ValueError, match=rf"schedule.json: not a thing \({name}"),
            reading(path, "a thing", "hint"),
        ):
            read_json(path)


def test_a_file_whose_name_is_not_utf8_is_refused_with_the_mend(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    write_tensors(path, {"a": torch.ones(1)}, {"kind": "faces"})
    with pytest.raises(ValueError, match=r"; rename it, or its folder: the name is not UTF-8$"):
        read_tensors(path, "faces", "hint")


def test_a_file_whose_header_is_as_long_as_a_pickle_begins_is_read(tmp_path):
    path = tmp_path / "file.safetensors"
    write_tensors(path, {"a": torch.zeros(1)}, {"kind": "k", "padding": ""})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    write_tensors(path, {"a": torch.zeros(1)}, {"kind": "k", "padding": "x" * (640 - length)})
    assert path.read_bytes().startswith(b"\x80\x02")  # as pickles do, in protocol 2
    read_tensors(path, "k", "none")
