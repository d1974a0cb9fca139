"""Files of schedules: every kind of file and of numbers gives the same schedule, or one line."""

import json
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from diffusion.schedule import TeacherSchedule, from_alphas_cumprod, from_betas, from_sigmas
from diffusion.schedule_choice import read_schedule

BETAS = np.array([0.05, 0.1, 0.4, 0.7])


def numbers_of(betas):
    """The four kinds of numbers of one schedule, from definitions alone."""
    squares = [1.0]
    for beta in betas.tolist():
        squares.append(squares[-1] * (1.0 - beta))
    squares = np.array(squares)
    return {
        "betas": {"betas": betas},
        "alphas_cumprod": {"alphas_cumprod": squares[1:]},
        "sigmas": {"sigmas": np.sqrt((1 - squares) / squares)[::-1]},
        "pair": {"alpha": np.sqrt(squares), "sigma": np.sqrt(1 - squares)},
    }


def write(folder, suffix, arrays):
    path = folder / f"my_{next(iter(arrays))}{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps({name: array.tolist() for name, array in arrays.items()}))
    elif suffix == ".csv":
        rows = [",".join(map(repr, row)) for row in np.stack([*arrays.values()], 1).tolist()]
        path.write_text("\n".join([",".join(arrays), *rows]) + "\n")
    elif suffix == ".npy":
        columns = list(arrays.values())
        np.save(path, columns[0] if len(columns) == 1 else np.stack(columns, 1))
    elif suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".json", ".csv", ".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("kind", ["betas", "alphas_cumprod", "sigmas", "pair"])
def test_every_kind_of_file_and_numbers_gives_the_same_schedule(tmp_path, suffix, kind):
    found = read_schedule(write(tmp_path, suffix, numbers_of(BETAS)[kind]))
    expected = numbers_of(BETAS)["pair"]
    np.testing.assert_allclose(found.alpha, expected["alpha"], rtol=1e-14)
    np.testing.assert_allclose(found.sigma, expected["sigma"], rtol=1e-14)
    assert found.name.startswith("file ")


@pytest.mark.parametrize("form", ["\ufeffalpha,sigma\r\n{}\r\n", " alpha, sigma\n{}\n\n\n"])
def test_a_table_as_people_and_spreadsheets_leave_it_gives_the_same_schedule(tmp_path, form):
    pair = numbers_of(BETAS)["pair"]
    end, comma = ("\r\n", ",") if "\r" in form else ("\n", " , ")
    rows = [f"{a!r}{comma}{s!r}" for a, s in zip(*(pair[n].tolist() for n in pair), strict=True)]
    (tmp_path / "pair.csv").write_bytes(form.format(end.join(rows)).encode())
    assert read_schedule(tmp_path / "pair.csv") == TeacherSchedule(pair["alpha"], pair["sigma"])


@given(st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=40))
def test_numbers_come_back_from_the_schedule_that_they_make(betas):
    """betas -> alpha, sigma -> betas, and the same for the other kinds."""
    kinds = numbers_of(np.array(betas))
    first = from_betas(kinds["betas"]["betas"])
    np.testing.assert_allclose(1 - first.alpha[1:] ** 2 / first.alpha[:-1] ** 2, betas, rtol=1e-9)
    second = from_alphas_cumprod(kinds["alphas_cumprod"]["alphas_cumprod"])
    np.testing.assert_allclose(second.alpha**2, kinds["pair"]["alpha"] ** 2, rtol=1e-14)
    sigmas = kinds["sigmas"]["sigmas"]
    for given_sigmas in (sigmas, sigmas[::-1], sigmas[:-1]):  # falling, rising, without the 0
        third = from_sigmas(given_sigmas)
        np.testing.assert_allclose(third.sigma / third.alpha, sigmas[::-1], rtol=1e-9)
        np.testing.assert_allclose(third.alpha**2 + third.sigma**2, 1, rtol=1e-15)


def test_clean_data_may_lead_the_alphas_cumprod_and_pure_noise_may_end_betas_and_them():
    whole = from_alphas_cumprod(np.array([1.0, 0.5, 0.0]))
    assert whole == from_alphas_cumprod(np.array([0.5, 0.0])) == from_betas(np.array([0.5, 1.0]))
    assert (whole.alpha[0], whole.alpha[-1], whole.sigma[-1]) == (1.0, 0.0, 1.0)


def test_pairs_in_single_precision_are_put_back_onto_the_circle(tmp_path):
    pair = {name: a.astype(np.float32) for name, a in numbers_of(BETAS)["pair"].items()}
    found = read_schedule(write(tmp_path, ".npz", pair))
    np.testing.assert_allclose(found.alpha**2 + found.sigma**2, 1, rtol=1e-15)
    np.testing.assert_allclose(found.alpha, pair["alpha"], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"betas": [0.1, np.nan]}, "NaN|nan"),
        ({"betas": [0.1, 1.5, 0.2]}, r"betas\[1\] is 1.5, must be above 0 and below 1"),
        ({"betas": [0.1, 0.0]}, r"betas\[1\] is 0.0"),
        ({"betas": [-0.1]}, r"betas\[0\] is -0.1"),
        ({"alphas_cumprod": [0.9, 0.4, 0.5]}, r"alphas_cumprod\[2\] is 0.5, must be below the one"),
        ({"alphas_cumprod": [0.9, 1.2]}, r"alphas_cumprod\[1\] is 1.2"),
        ({"alphas_cumprod": [0.9, 0.0, 0.0]}, r"alphas_cumprod\[1\] is 0.0"),
        ({"sigmas": [3.0, 1.0, 2.0, 0.0]}, "rise from each to the next"),
        ({"sigmas": [3.0, -1.0]}, r"sigmas\[1\] is -1.0"),
        ({"sigmas": [0.0]}, "a number above 0"),
        ({"alpha": [1.0, 0.6], "sigma": [0.0, 0.9]}, r"t = 1.*breaks alpha\*\*2"),
        ({"alpha": [0.8, 0.6], "sigma": [0.6, 0.8]}, r"t = 0.*must be exactly \(1.0, 0.0\)"),
        ({"gammas": [0.1]}, "gammas|without a name"),
        ({"betas": []}, "betas|numbers|shape"),
    ],
)
def test_numbers_that_are_no_schedule_are_one_line_with_the_file(tmp_path, suffix, arrays, message):
    path = write(tmp_path, suffix, {name: np.array(a) for name, a in arrays.items()})
    with pytest.raises(ValueError, match=message) as refusal:
        read_schedule(path)
    assert str(refusal.value).startswith(f"{path}: not a schedule (")
    assert "\n" not in str(refusal.value)


def test_a_file_with_two_kinds_or_a_nameless_row_says_what_to_do(tmp_path):
    kinds = numbers_of(BETAS)
    path = write(tmp_path, ".npz", kinds["betas"] | kinds["sigmas"])
    with pytest.raises(ValueError, match="holds betas and sigmas; keep one of them"):
        read_schedule(path)
    np.save(tmp_path / "schedule.npy", BETAS)
    with pytest.raises(ValueError, match=r"shape \(4,\) without a name; call the file betas.npy"):
        read_schedule(tmp_path / "schedule.npy")


class Malicious:
    def __reduce__(self):
        return (pytest.fail, ("a file ran code",))


@pytest.mark.parametrize("name", ["betas.npy", "betas.npz", "betas.pkl", "betas.safetensors"])
def test_no_file_runs_code(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ValueError, match="not a schedule"):
        read_schedule(path)
    if name == "betas.npy":
        np.save(path, np.array([None]), allow_pickle=True)
        with pytest.raises(ValueError, match="not a schedule"):
            read_schedule(path)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".safetensors"])
def test_a_file_that_is_cut_off_anywhere_is_no_schedule_or_a_shorter_one(tmp_path, suffix):
    """A CSV has no end mark: cut off between two rows, or within the last number, it is one."""
    path = write(tmp_path, suffix, numbers_of(BETAS)["betas"])
    whole = path.read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:end])
        if suffix == ".csv":
            with suppress(ValueError):
                assert isinstance(read_schedule(path), TeacherSchedule)
        else:
            with pytest.raises(ValueError, match="not a schedule"):
                read_schedule(path)
