"""Comparisons on latents of any encoder: only faces need a VAE, and rotations are undone."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.compare_strategies import compare_strategies
from distill.comparison import open_comparison
from distill.config import CompareConfig, ExportConfig
from distill.decode import decode_operator, noise_bank
from distill.export_student import export_student
from distill.results import ResultRow, tabulate
from experiment.folder import RESULTS
from experiment.write import sha256, write_rows
from report.comparison import write_report
from report.config import DecodeConfig
from report.decode_grids import decode_grids
from report.export import report_export
from tests.conftest import make_model_run
from tests.test_distill_rotation import correlated, save_both
from vae.checkpoint import VAE_FILE
from vae.latents import LATENTS_FILE, Latents, moments, save_latents

VARIANCES = np.array([2.2, 1.3, 0.7, 0.3, 0.2, 0.1])
SMALL = {
    "num_steps": 4,
    "steps_per_merge": (2,),
    "budgets": ("per_merge",),
    "batch_size": 64,
    "device": "cpu",
}
SMALL |= {"engine": "closed_form", "num_images": 2}


@pytest.fixture
def files(tmp_path):
    """The same Gaussian in its own coordinates and in rotated ones."""
    save_both(tmp_path, 300, VARIANCES)
    return tmp_path


def config_for(files, name, **flags):
    made = {"out": files / f"{name}_run", "latents": files / f"{name}.npy"}
    return CompareConfig(**(SMALL | made | flags))


def finish(config):
    """Run the command as the script does; its comparison, rows and text for the terminal."""
    comparison = compare_strategies(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    write_rows(config.out / RESULTS, rows, ResultRow)
    text, _ = write_report(config.out, comparison, rows, config.seed)
    return comparison, rows, text


def test_a_rotated_gaussian_ends_as_far_from_its_target_as_the_diagonal_one(files):
    rotated = compare_strategies(config_for(files, "rotated"))
    diagonal = compare_strategies(config_for(files, "diagonal"))
    assert rotated.rotation is not None
    assert diagonal.rotation is None
    order = np.argsort(diagonal.problem.variances)[::-1]
    for case, students in diagonal.students.items():
        ours = rotated.students[case].predicted
        np.testing.assert_allclose(ours, students.predicted[order], rtol=1e-5)
    for one in (rotated, diagonal):  # the students are trained on latents whose variances are these
        assert one.inputs == "latents"


def test_training_sees_the_rotated_latents(files):
    """Measured operators are those of Gaussian theory only if the batches have its variances."""
    comparison = compare_strategies(config_for(files, "rotated", batch_size=20_000))
    for students in comparison.students.values():
        np.testing.assert_allclose(students.operator, students.predicted, atol=0.02)


def test_without_a_vae_there_are_numbers_but_no_faces_and_warnings_come_first(files):
    config = config_for(files, "rotated")
    comparison, _, text = finish(config)
    assert comparison.model is None
    said = "There are no faces and no pixel distances, because no VAE was given"
    warning = "Planning assumes independent Gaussian coordinates, which these latents have only"
    pages = [(config.out / name).read_text() for name in ("summary.md", "report.html")]
    for place in (text, *pages):
        assert said in place
        assert "pixel l2" not in place.lower()
        assert 0 <= place.index(warning) < place.index("at 1 of 1 stage")
    sentence = json.loads((config.out / "recommendation.json").read_text())["sentence"]
    assert sentence.startswith(warning)
    rows = list(csv.DictReader((config.out / RESULTS).open()))
    for row in rows:
        assert row["pixel_l2"] == row["pixel_l2_low"] == row["pixel_l2_high"] == row["ssim"] == ""
        assert float(row["w2_squared"]) >= 0.0
        assert row["dimensions"] == "6"
    assert not list((config.out / "figures").glob("faces*"))
    with pytest.raises(ValueError, match="has no faces, because no VAE was given"):
        decode_grids(DecodeConfig(run=config.out, device="cpu"))


@pytest.mark.parametrize(("rotate", "said"), [("auto", "only after a rotation"), ("off", "do not")])
def test_latents_of_an_untrained_vae_get_no_recommendation_without_a_warning(
    tmp_path, rotate, said
):
    vae, folder = make_model_run(tmp_path)
    draw = torch.Generator().manual_seed(0)
    common = torch.randn(500, 1, generator=draw)  # one factor moves all coordinates, as there
    codes = 0.3 * common + 0.03 * torch.randn(500, 128, generator=draw)
    latents = Latents(*moments(codes), 500, sha256(vae / VAE_FILE), "drawn by the test")
    save_latents(folder / LATENTS_FILE, latents)
    flags = SMALL | {"vae": vae, "latents": folder, "rotate": rotate}
    _, rows, text = finish(CompareConfig(out=tmp_path / "run", **flags))
    assert rows[0].pixel_l2 is not None
    assert said in text
    place = text.index("99.2% of the covariance's energy is off its diagonal")
    assert place < text.index("at 1 of 1 stage")


def test_a_run_goes_on_and_refuses_a_file_that_changed(files):
    config = config_for(files, "rotated")
    first = compare_strategies(config)
    (config.out / "comparison.safetensors").unlink()
    again = compare_strategies(config)
    for case, students in first.students.items():
        np.testing.assert_array_equal(again.students[case].operator, students.operator)
    reopened = open_comparison(config.out, None, "cpu")
    np.testing.assert_array_equal(reopened.problem.variances, first.problem.variances)
    np.testing.assert_array_equal(reopened.rotation.basis, first.rotation.basis)
    np.save(files / "rotated.npy", np.load(files / "rotated.npy") + 1.0)
    with pytest.raises(ValueError, match=r"another run's results \(inputs.latents is"):
        compare_strategies(config)


def test_a_named_array_trains_in_processes_of_its_own(files):
    codes = np.load(files / "rotated.npy")
    np.savez(files / "two.npz", other=codes * 2.0, mine=codes)
    named = {"latents": files / "two.npz:mine", "inputs": "latents"}
    found = compare_strategies(config_for(files, "named", workers=2, **named))
    alone = compare_strategies(config_for(files, "rotated"))
    for case, students in alone.students.items():
        np.testing.assert_array_equal(found.students[case].operator, students.operator)


@pytest.fixture
def decoded(tmp_path):
    """A comparison on correlated latents of 128 coordinates with a VAE, and its config."""
    vae, _ = make_model_run(tmp_path, image_size=32)
    rows, _ = correlated(400, np.geomspace(0.01, 4.0, 128))
    np.save(tmp_path / "wide.npy", rows)
    return config_for(tmp_path, "wide", vae=vae)


def test_latents_of_128_coordinates_are_decoded_by_the_vae_that_is_given(decoded):
    comparison, rows, text = finish(decoded)
    assert rows[0].pixel_l2 > 0
    assert "no faces" not in text
    assert list((decoded.out / "figures").glob("faces*"))
    students = next(iter(comparison.students.values()))
    noise = noise_bank(0, 0, 3, 128)
    with torch.no_grad():
        basis = torch.from_numpy(comparison.rotation.basis).double()
        latents = comparison.mean + noise.double() @ (basis * torch.from_numpy(students.operator)).T
        images = comparison.model.decode(latents.float())
    found = decode_operator(
        comparison.model, students.operator, comparison.mean, noise, comparison.rotation
    )
    torch.testing.assert_close(found, images, atol=1e-5, rtol=1e-4)
    decode_grids(DecodeConfig(run=decoded.out, vae=decoded.vae, device="cpu", columns=2))


def test_a_vae_of_another_width_is_refused(decoded):
    np.save(decoded.latents, np.load(decoded.latents)[:, :64])
    with pytest.raises(ValueError, match=r"latents of 64 coordinates, --vae .* decodes 128; leave"):
        compare_strategies(decoded)
    assert not decoded.out.exists()


@pytest.mark.parametrize("name", ["rotated", "diagonal"])
def test_an_exported_student_makes_latents_with_the_covariance_of_its_operator(files, name):
    comparison = compare_strategies(config_for(files, name))
    case, students = next(iter(comparison.students.items()))
    config = ExportConfig(
        run=files / f"{name}_run", out=files / "student", strategy=case.strategy, steps_per_merge=2
    )
    report_export(config.out, export_student(config))
    assert not (config.out / "decoder.pt2").exists()
    assert "was given no VAE" in (config.out / "summary.md").read_text()
    operator = load_file(config.out / "student.safetensors")["operator"].double().numpy()
    if name == "diagonal":
        np.testing.assert_allclose(operator, students.operator, rtol=1e-6)
    else:
        basis = comparison.rotation.basis.astype(np.float64)
        made = basis * students.operator**2 @ basis.T
        np.testing.assert_allclose(operator @ operator.T, made, atol=1e-6)
    noise = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    found = torch.export.load(config.out / "student.pt2").module()(noise)
    matrix = np.diag(operator) if operator.ndim == 1 else operator
    expected = comparison.mean.numpy() + noise.numpy() @ matrix.T
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_off_trains_in_the_latents_own_coordinates(files):
    config = config_for(files, "rotated", rotate="off")
    codes = np.load(files / "rotated.npy").reshape(300, 6)
    found = compare_strategies(config)
    np.testing.assert_allclose(found.problem.variances, codes.var(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match="another run's results"):
        compare_strategies(replace(config, rotate="on"))
