"""What files from elsewhere could do, and what the code could do unasked."""

import ast
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import draw_image
from vae.cache import load_images
from vae.check_data import check_data
from vae.config import CheckConfig, PretrainConfig
from vae.images import MOST_MEMBER_BYTES, find_images, open_image
from vae.pretrain_vae import pretrain_vae

ROOT = Path(__file__).parents[1]
OUR_OWN = {"tests", "benchmarks"}
SOURCES = [
    path
    for init in ROOT.glob("*/__init__.py")
    if init.parent.name not in OUR_OWN
    for path in sorted(init.parent.rglob("*.py"))
]
NETWORK = {"ftplib", "http", "httpx", "requests", "smtplib", "socket", "telnetlib", "urllib"}
UNPICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNPACKERS = {"extract", "extractall", "unpack_archive"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_module_runs_nothing_that_a_file_brings_along_and_calls_nobody(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & (NETWORK | UNPICKLERS)
    for name, call in calls(path):
        last = name.rpartition(".")[2]
        assert name not in {"eval", "exec", "os.system", "os.popen"}, name
        assert last not in UNPACKERS, name
        assert not name.startswith("pickle."), name
        assert not name.startswith("torch.hub."), name
        assert keyword(call, "shell") in ("", "False"), name
        assert keyword(call, "allow_pickle") in ("", "False"), name
        if name == "torch.load":
            assert keyword(call, "weights_only") == "True"
        if name != "pytorch_msssim.ms_ssim":  # its weights are five numbers
            assert keyword(call, "weights") in ("", "None"), f"{name} would download"


class Payload:
    """Pickled, it is an order to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_checkpoint_with_orders_in_it_is_refused_and_none_is_carried_out(image_folder, tmp_path):
    small = {"data": image_folder, "out": tmp_path / "run", "cache": tmp_path / "cache"}
    config = PretrainConfig(**small, epochs=1, batch_size=16, device="cpu")
    pretrain_vae(config)
    for checkpoint in [path for path in config.out.rglob("*") if path.suffix in (".pt", ".pth")]:
        torch.save(Payload(tmp_path / "done"), checkpoint)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        pretrain_vae(config)
    assert not (tmp_path / "done").exists()
    # The order itself works: a loader that obeys carries it out.
    pickle.loads(pickle.dumps(Payload(tmp_path / "done")))
    assert (tmp_path / "done").exists()


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    draw_image(seed).save(stream, "JPEG")
    return stream.getvalue()


def test_a_zip_leaves_nothing_outside_its_cache_whatever_its_names(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    names = ["../out.jpg", "../../out.jpg", "/out.jpg", "C:\\out.jpg", "in/../../out2.jpg"]
    archive = zip_of(inner / "faces.zip", {name: jpeg(i) for i, name in enumerate(names)})
    assert len(load_images(archive, tmp_path / "cache").images) == len(names)
    assert not list(tmp_path.rglob("*out*.jpg"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "cache"}


def test_a_member_that_grows_past_any_image_is_refused_before_it_grows(tmp_path):
    archive = zip_of(tmp_path / "bomb.zip", {"a.jpg": bytes(MOST_MEMBER_BYTES + 1)})
    assert archive.stat().st_size < MOST_MEMBER_BYTES / 500
    tracemalloc.start()
    with pytest.raises(OSError, match=r"a.jpg: 67108865 bytes are more than an image has"):
        open_image(archive, "a.jpg")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_member_that_is_larger_than_it_says_is_not_read_further(tmp_path):
    said = 1000
    archive = zip_of(tmp_path / "liar.zip", {"a.jpg": bytes(MOST_MEMBER_BYTES)})
    true_size, false_size = struct.pack("<I", MOST_MEMBER_BYTES), struct.pack("<I", said)
    archive.write_bytes(archive.read_bytes().replace(true_size, false_size))
    tracemalloc.start()
    with pytest.raises((OSError, zipfile.BadZipFile)):
        open_image(archive, "a.jpg")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_damaged_member_is_counted_and_the_rest_is_looked_at(tmp_path, capsys):
    members = {f"{i}.jpg": jpeg(i) for i in range(3)}
    archive = zip_of(tmp_path / "faces.zip", members, zipfile.ZIP_STORED)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(members["1.jpg"][-200:-100], bytes(100)))
    check_data(CheckConfig(archive))
    out = capsys.readouterr().out
    assert "damaged: 1 of 3 opened" in out
    assert "1.jpg: Bad CRC-32" in out


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_inflates_whole_blocks_is_refused(tmp_path, method):
    archive = zip_of(tmp_path / "faces.zip", {"a.jpg": jpeg(0)}, method)
    assert find_images(archive).names == ("a.jpg",)
    with pytest.raises(OSError, match="another method than deflate; unpack the zip"):
        open_image(archive, "a.jpg")
