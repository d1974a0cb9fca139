"""A run of images is its inputs: pixels, splits and weights; another one is refused, not mixed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from experiment.folder import CONFIG, open_run
from tests.conftest import draw_image
from vae.cache import load_images
from vae.checkpoint import VAE_FILE, save_vae
from vae.config import EncodeConfig, PretrainConfig
from vae.encode_latents import encode_latents
from vae.images import PARTITION_FILES, find_images
from vae.model import VAE
from vae.pretrain_vae import pretrain_vae


@pytest.fixture
def faces(tmp_path) -> Path:
    """Forty small images, of which some are held out by name."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(40):
        draw_image(i, (44, 54)).save(folder / f"{i:06d}.bmp")
    return folder


def pretrain(faces):
    flags = {"image_size": 32, "batch_size": 16, "device": "cpu", "precision": "float32"}
    where = {"out": faces.parent / "run", "cache": faces.parent / "cache"}
    return pretrain_vae(PretrainConfig(data=faces, epochs=1, **flags, **where))


def encode(faces):
    run = faces.parent / "vae"
    if not run.exists():
        save_vae(run / VAE_FILE, VAE(32))
    where = {"out": faces.parent / "run", "cache": faces.parent / "cache"}
    return encode_latents(EncodeConfig(data=faces, vae=run, device="cpu", **where))


def add_list(faces):
    lines = [f"{i:06d}.jpg {i % 3}\n" for i in range(40)]
    (faces / PARTITION_FILES[0]).write_text("".join(lines))


def rename(faces):
    """The same pixels in the same order under other names, so with another hold-out."""
    for path in sorted(faces.glob("*.bmp")):
        path.rename(path.with_name(f"again{path.name}"))


def replace_one(faces):
    draw_image(99, (44, 54)).save(faces / "000003.bmp")


def replace_one_in_secret(faces):
    """Of the same size and with the same time of modification."""
    path = faces / "000003.bmp"
    before = path.stat()
    draw_image(99, (44, 54)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("command", [pretrain, encode])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (add_list, "inputs.splits"),
        (rename, "inputs.splits"),
        (replace_one, "inputs.data"),
        (replace_one_in_secret, "inputs.data"),
    ],
)
def test_a_changed_input_is_refused_with_the_way_out(faces, monkeypatch, command, change, named):
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    command(faces)
    out = faces.parent / "run"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    change(faces)
    with pytest.raises(ValueError, match=rf"holds another run's results \({named} is") as refused:
        command(faces)
    assert "give --out a new folder, or put the former" in str(refused.value)
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after == before


def test_a_list_that_changes_no_split_and_files_that_are_moved_change_nothing(faces, monkeypatch):
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    first = encode(faces)
    splits = load_images(faces, faces.parent / "cache", 32).splits
    lines = [f"{i:06d}.png {int(split)}\n" for i, split in enumerate(splits)]
    (faces / PARTITION_FILES[0]).write_text("".join(lines))
    moved = shutil.move(faces, faces.parent / "moved")
    assert encode(Path(moved)).data_fingerprint == first.data_fingerprint


def test_a_run_of_an_earlier_version_without_splits_in_its_record_goes_on(faces, monkeypatch):
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    encode(faces)
    record = faces.parent / "run" / CONFIG
    content = json.loads(record.read_text())
    del content["inputs"]["splits"]
    record.write_text(json.dumps(content))
    encode(faces)
    replace_one(faces)
    with pytest.raises(ValueError, match=r"inputs\.data is"):
        encode(faces)


def test_an_input_that_was_always_recorded_cannot_be_missing(tmp_path):
    config = EncodeConfig(data=tmp_path, out=tmp_path / "run")
    open_run(config.out, "job", config, {"data": "a"}, "cpu")
    open_run(config.out, "job", config, {"data": "a", "splits": "b"}, "cpu", None, ("splits",))
    with pytest.raises(ValueError, match=r"inputs.vae is None there, c here"):
        open_run(config.out, "job", config, {"data": "a", "vae": "c"}, "cpu")
    with pytest.raises(ValueError, match=r"inputs.data is a there, None here"):
        open_run(config.out, "job", config, {}, "cpu", None, ("splits",))


def test_latents_of_one_image_are_refused_in_words(faces):
    for path in sorted(faces.iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match="one image, so its latents have no variance"):
        encode(faces)
    assert not (faces.parent / "run").exists()


def test_the_fingerprint_of_images_holds_names_sizes_and_times(faces):
    seen = {find_images(faces).fingerprint()}
    for change in (replace_one, replace_one_in_secret, rename):
        change(faces)
        seen.add(find_images(faces).fingerprint())
    assert len(seen) == 4
