import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.conftest import draw_image
from tests.resume_driver import config
from vae.cache import load_images
from vae.checkpoint import FOLDER, load_state
from vae.pretrain_vae import pretrain_vae

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the processes that are cut off: sums in another order end in other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """36 images, 32 of them to train on, decoded into ``cache`` beside them."""
    folder = tmp_path_factory.mktemp("faces") / "images"
    folder.mkdir()
    for i in range(36):
        draw_image(i, size=(60, 70)).save(folder / f"{i:06d}.png")
    partition = "".join(f"{i:06d}.png {int(i >= 32)}\n" for i in range(36))
    (folder / "list_eval_partition.txt").write_text(partition)
    load_images(folder, folder.parent / "cache", image_size=32)
    return folder


@pytest.fixture(scope="module")
def whole(data) -> Path:
    """A run that nothing cut off."""
    out = data.parent / "whole"
    pretrain_vae(config(data, data.parent / "cache", out))
    return out


def command(data: Path, out: Path) -> list[str]:
    asked = config(data, data.parent / "cache", out)
    values = {name: value for name, value in asdict(asked).items() if value is not None}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    return [sys.executable, "-m", "scripts.pretrain_vae", *flags]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def assert_same_run(found: Path, expected: Path) -> None:
    """The same bits in weights, optimizer and records; only the speed may differ."""
    states = [load_state(run, image_size=32) for run in (found, expected)]
    flat = [torch.utils._pytree.tree_flatten((s.model, s.optimizer))[0] for s in states]
    for one, other in zip(*flat, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    for name in ("vae.safetensors", "best.safetensors", "latent_dimensions.jsonl"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    rows = [
        re.sub(r'"images_per_second": [^,]+', "", (run / "metrics.jsonl").read_text())
        for run in (found, expected)
    ]
    assert rows[0] == rows[1]
    assert not list(found.rglob("*.tmp"))


def test_killed_again_and_again_also_while_writing_it_ends_with_the_same_bits(data, whole):
    out = data.parent / "killed"
    driver = [sys.executable, "-m", "tests.resume_driver", data, data.parent / "cache", out]
    done = subprocess.run(
        [*map(str, driver), "1", "6"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "killed in a write" in done.stdout.splitlines()
    assert_same_run(out, whole)


def test_signals_and_a_time_limit_stop_after_a_step_and_the_same_command_goes_on(
    data, whole, capsys
):
    out = data.parent / "stopped"

    def stop_with(number: int) -> tuple[int, str]:
        seen = newest()
        process = subprocess.Popen(
            command(data, out), env=environment(), stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        while newest() == seen and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(), process.stderr.read()

    def newest() -> str:
        return max((path.name for path in (out / FOLDER).glob("step*.pt")), default="")

    def progress() -> tuple[int, int]:
        state = load_state(out, image_size=32)
        return state.epoch, len(state.losses)

    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        code, said = stop_with(number)
        assert code == status
        assert said.count("interrupted: saved; the same command resumes the run") == 1
        assert "Traceback" not in said
    run = config(data, data.parent / "cache", out)
    before = progress()
    pretrain_vae(replace(run, max_minutes=0.0001))  # returns: exit status 0
    assert "0.0001 minutes are over: saved; the same command resumes" in capsys.readouterr().out
    assert progress() > before
    pretrain_vae(run)
    assert_same_run(out, whole)


def test_only_the_newest_states_are_kept_and_the_best_weights(data, whole):
    steps = [path.name for path in sorted((whole / FOLDER).iterdir())]
    assert steps == ["step_000000011.pt", "step_000000012.pt"]
    rows = [json.loads(row) for row in (whole / "metrics.jsonl").read_text().splitlines()]
    best = max(row["ms_ssim"] for row in rows)
    assert load_state(whole, 32).best_ms_ssim == best
    is_last = rows[-1]["ms_ssim"] == best
    same = (whole / "vae.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert same == is_last


def assert_survives(data: Path, whole: Path, out: Path, fill, empty) -> None:
    """Fill the disk after a few steps; nothing saved is lost, and with room the run goes on."""
    run = config(data, data.parent / "cache", out)
    pretrain_vae(replace(run, max_minutes=1e-9))  # one step
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    fill()
    with pytest.raises(
        OSError, match=r"cannot be written .*free some space, then repeat the command"
    ):
        pretrain_vae(run)
    empty()
    kept = {path: path.read_bytes() for path in before}
    assert kept == before
    pretrain_vae(run)
    assert_same_run(out, whole)


def test_a_full_disk_loses_nothing(data, whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        filler = disk / "filler"

        def fill() -> None:
            room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            filler.write_bytes(bytes(room - (2 << 20)))  # what is left takes half a state

        assert_survives(data, whole, disk / "run", fill, filler.unlink)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_writer_that_fails_in_the_middle_loses_nothing(data, whole, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = (2 << 20, hard)
    try:
        assert_survives(
            data,
            whole,
            tmp_path / "run",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("keep", [0, 7, 0.5, -10])
def test_a_damaged_state_is_named_and_left_alone(data, whole, tmp_path, keep):
    folder = tmp_path / FOLDER
    folder.mkdir()
    names = [path.name for path in sorted((whole / FOLDER).iterdir())]
    for name in names:
        (folder / name).write_bytes((whole / FOLDER / name).read_bytes())
    content = (folder / names[-1]).read_bytes()
    damaged = content[: int(keep * len(content)) if isinstance(keep, float) else keep]
    (folder / names[-1]).write_bytes(damaged)
    with pytest.raises(
        ValueError, match=r"step_000000012\.pt: not a whole checkpoint .*one before"
    ):
        load_state(tmp_path, image_size=32)
    assert (folder / names[-1]).read_bytes() == damaged
    (folder / names[-1]).unlink()
    assert load_state(tmp_path, image_size=32) is not None


def test_a_state_that_carries_code_or_is_of_another_kind_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    path = tmp_path / FOLDER / "step_000000001.pt"
    path.parent.mkdir()
    torch.save({"format": Evil()}, path)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_state(tmp_path, image_size=32)
    assert not (tmp_path / "ran").exists()
    torch.save({"format": "format 1"}, path)
    with pytest.raises(ValueError, match=r"holds 'format 1', this version reads .* format 2"):
        load_state(tmp_path, image_size=32)


def test_a_state_of_another_image_size_is_refused(whole):
    with pytest.raises(ValueError, match=r"preprocessed as .*_32px_v2, this run prepares .*_64px"):
        load_state(whole, image_size=64)
