"""Arrays of other programs: every container, type and shape gives the same rows, and damage is told
in one line.
"""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from experiment.tensors import fingerprint, read_rows
from tests.damage import READER, damaged, outcome

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def write_npy(path, tensor):
    np.save(path, tensor.numpy())


def write_fortran_npy(path, tensor):
    np.save(path, np.asfortranarray(tensor.numpy()))


def write_big_endian_npy(path, tensor):
    array = tensor.numpy()
    np.save(path, array.astype(array.dtype.newbyteorder(">")))


def write_npz(path, tensor):
    np.savez(path, anything=tensor.numpy())


def write_compressed_npz(path, tensor):
    np.savez_compressed(path, anything=tensor.numpy())


def write_safetensors(path, tensor):
    save_file({"anything": tensor}, path)


WRITERS = {
    write_npy: ".npy",
    write_fortran_npy: ".npy",
    write_big_endian_npy: ".npy",
    write_npz: ".npz",
    write_compressed_npz: ".npz",
    write_safetensors: ".safetensors",
}


@pytest.mark.parametrize("write", WRITERS)
@READER
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple),
    seed=st.integers(0, 99),
)
def test_every_container_type_and_shape_gives_the_rows_that_were_written(
    write, dtype, shape, seed, tmp_path
):
    if dtype == torch.bfloat16 and write is not write_safetensors:
        dtype = torch.float16  # NumPy has no bfloat16
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    path = tmp_path / f"latents{WRITERS[write]}"
    write(path, whole)
    rows, shape_of_row = read_rows(path, "save it again")
    assert rows.dtype == dtype
    assert torch.equal(rows, whole.reshape(len(whole), -1))
    assert shape_of_row == shape[1:]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_one_of_several_arrays_is_named_and_part_of_the_fingerprint(tmp_path, suffix):
    path = tmp_path / f"latents{suffix}"
    one, two = np.ones((2, 3)), np.zeros((4, 5))
    if suffix == ".npz":
        np.savez(path, one=one, two=two)
    else:
        save_file({"one": torch.from_numpy(one), "two": torch.from_numpy(two)}, path)
    with pytest.raises(ValueError, match=rf"holds one, two: name one as latents{suffix}:NAME"):
        read_rows(path, "save it again")
    with pytest.raises(ValueError, match=r"has no 'three', holds one, two"):
        read_rows(tmp_path / f"latents{suffix}:three", "save it again")
    named = tmp_path / f"latents{suffix}:two"
    np.testing.assert_array_equal(read_rows(named, "save it again")[0], two)
    assert fingerprint(named) == f"{fingerprint(path)}:two"


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.ones((3, 2), np.int64), "its numbers are int64, must be float16"),
        (np.ones((3, 2), np.uint8), "its numbers are uint8"),
        (np.ones((3, 2), complex), "its numbers are complex128"),
        (np.ones((3, 2), "V2"), "NumPy has no bfloat16"),
        (np.ones(6), r"its shape is \(6,\), must be \(N, ...\)"),
        (np.ones((0, 2)), r"its shape is \(0, 2\)"),
        (np.ones((3, 0)), r"its shape is \(3, 0\)"),
    ],
)
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_what_is_no_rows_of_floating_point_numbers_is_told(tmp_path, array, fault, save):
    path = tmp_path / f"latents.{save.__name__.removeprefix('save').replace('z', 'npz') or 'npy'}"
    save(path, array)
    with pytest.raises(ValueError, match=fault):
        read_rows(path, "save it again")


def test_objects_that_would_run_code_are_refused(tmp_path):
    for save, name in ((np.save, "a.npy"), (np.savez, "a.npz")):
        save(tmp_path / name, np.array([{}], dtype=object))
        with pytest.raises(ValueError, match=f"{name}: not one array of numbers"):
            read_rows(tmp_path / name, "save it again")


def test_a_file_that_is_not_there_and_one_of_another_kind_are_told(tmp_path):
    for name in ("a.npy", "a.npz", "a.safetensors", "a.pt"):
        assert outcome(lambda path: read_rows(path, "save it again"), tmp_path / name) is None
        (tmp_path / name).write_bytes(b"neither this nor that\n" * 40)
        assert outcome(lambda path: read_rows(path, "save it again"), tmp_path / name) is None


def whole(save):
    file = io.BytesIO()
    save(file, np.random.default_rng(0).normal(size=(4, 3)))
    return file.getvalue()


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
@READER
@given(data=st.data())
def test_a_damaged_file_is_told_or_gives_rows(save, tmp_path, data):
    path = tmp_path / ("latents.npy" if save is np.save else "latents.npz")
    path.write_bytes(data.draw(damaged(whole(save))))
    found = outcome(lambda given: read_rows(given, "save it again"), path)
    if found is not None:
        rows, shape = found
        assert rows.ndim == 2
        assert rows.shape[1] == int(np.prod(shape))
        assert rows.double().sum() is not None  # every number can be read
