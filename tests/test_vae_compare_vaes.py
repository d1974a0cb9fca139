import csv

import pytest
import torch
from PIL import Image

from report.style import save_figure
from report.vaes import _describe, draw_vaes
from vae.checkpoint import load_vae
from vae.compare_vaes import compare_vaes
from vae.config import CompareVaesConfig, PretrainConfig
from vae.pretrain_vae import pretrain_vae


@pytest.fixture
def runs(image_folder, tmp_path, monkeypatch):
    """Two runs of 32 px, one of 48 px."""
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    folders = [tmp_path / name for name in ("weak", "strong", "larger")]
    for out, beta, size in zip(folders, (1e-4, 1e-2, 1e-4), (32, 32, 48), strict=True):
        pretrain_vae(
            PretrainConfig(
                data=image_folder,
                out=out,
                beta=beta,
                epochs=1,
                image_size=size,
                cache=tmp_path / "cache",
            )
        )
    return folders


def test_a_run_whose_metrics_are_damaged_is_named(runs, image_folder, tmp_path):
    (runs[0] / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n\xff\n')
    config = CompareVaesConfig(
        runs=(runs[0],), data=image_folder, out=tmp_path / "compared", cache=tmp_path / "cache"
    )
    with pytest.raises(ValueError, match=r"metrics\.jsonl: not a whole record .*; give the folder"):
        compare_vaes(config)


def test_runs_are_set_side_by_side_and_other_sizes_refused(runs, image_folder, tmp_path):
    asked = {"data": image_folder, "cache": tmp_path / "cache", "columns": 4}
    compared = compare_vaes(
        CompareVaesConfig(runs=tuple(runs[:2]), out=tmp_path / "compared", **asked)
    )
    with (tmp_path / "compared/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["epochs"], float(row["beta"])) for row in rows] == [
        ("weak", "1", 1e-4),
        ("strong", "1", 1e-2),
    ]
    assert compared.originals.shape == (4, 3, 32, 32)
    for run, images in zip(runs, compared.reconstructions, strict=False):
        model = load_vae(run / "vae.safetensors")
        torch.testing.assert_close(images, model.decode(model.encode(compared.originals)[0]))
    assert _describe(compared.rows[0]).startswith("weak: β = 0.0001, 1 epoch\n")
    for originals in (False, True):
        save_figure(draw_vaes(compared, originals), tmp_path / "vaes.png")
        with Image.open(tmp_path / "vaes.png") as picture:
            assert picture.width > picture.height
    with pytest.raises(ValueError, match=r"image sizes \[32, 48\]; give runs of one size"):
        compare_vaes(CompareVaesConfig(runs=tuple(runs), out=tmp_path / "mixed", **asked))
