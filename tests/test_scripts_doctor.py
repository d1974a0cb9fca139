import shutil
from pathlib import Path

import pytest
import torch

from sampling.estimator_file import embedded_estimator
from scripts import health
from scripts.doctor import DoctorConfig, run
from vae.checkpoint import embedded_vae


def test_a_sound_installation_passes(tmp_path, capsys):
    run(DoctorConfig(device="cpu", cache=tmp_path / "none"))
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "all is well"
    assert "WRONG" not in out
    assert "sampling/pretrained/noise_estimator.safetensors" in out


def test_a_changed_a_missing_and_an_unnamed_model_are_each_found(tmp_path):
    folder = tmp_path / "vae" / "pretrained"
    shutil.copytree(embedded_vae().parent, folder)
    assert not any(finding.wrong for finding in health.examine_files(folder))

    weights = folder / "vae.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (folder / "latents.safetensors").unlink()
    (folder / "other.safetensors").write_bytes(b"")
    found = {Path(finding.what).name: finding for finding in health.examine_files(folder)}
    assert "install mergelab again" in found["vae.safetensors"].wrong
    assert found["latents.safetensors"].found == "sha256 missing"
    assert "install mergelab again" in found["latents.safetensors"].wrong
    assert "not named" in found["other.safetensors"].wrong


def test_a_list_of_sums_that_cannot_be_read_is_a_finding(tmp_path):
    folder = tmp_path / "vae" / "pretrained"
    shutil.copytree(embedded_vae().parent, folder)
    for spoil in (lambda path: path.write_text("no sums\n"), Path.unlink):
        spoil(folder / health.SUMS)
        (finding,) = health.examine_files(folder)
        assert finding.what == "vae/pretrained/SHA256SUMS"
        assert finding.wrong.endswith("; install mergelab again")


def test_a_changed_estimator_is_found(tmp_path):
    folder = tmp_path / "sampling" / "pretrained"
    shutil.copytree(embedded_estimator().parent, folder)
    weights = folder / "noise_estimator.safetensors"
    assert [finding.wrong for finding in health.examine_files(folder)] == [""]
    weights.write_bytes(weights.read_bytes()[:-1])
    (finding,) = health.examine_files(folder)
    assert "install mergelab again" in finding.wrong


def test_a_model_that_raises_or_is_not_finite_does_not_work(monkeypatch):
    cpu = torch.device("cpu")
    assert health.examine_estimator(cpu) == health.Finding("embedded noise estimator", "samples")
    monkeypatch.setattr(health, "sample_latents", lambda *_: torch.tensor([1.0, float("nan")]))
    assert health.examine_estimator(cpu).wrong == "its values are not finite"
    monkeypatch.setattr(health, "embedded_vae", lambda: Path("nowhere") / "vae.safetensors")
    assert "no such file" in health.examine_vae(cpu).wrong


def test_what_is_wrong_is_told_and_ends_with_status_1(tmp_path, capsys):
    no_folder = tmp_path / "cache"
    no_folder.write_text("a file")
    with pytest.raises(SystemExit) as stop:
        run(DoctorConfig(device="cpu", cache=no_folder))
    assert stop.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("image cache: not a folder")


def test_the_cache_is_counted(tmp_path):
    (tmp_path / "a.u8").write_bytes(bytes(2_000_000))
    (tmp_path / "b.part").write_bytes(bytes(500_000))
    assert health.examine_cache(tmp_path).found == f"{tmp_path}, 1 data sets, 2.5 MB"
