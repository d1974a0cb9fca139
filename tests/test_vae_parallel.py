import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import vae.parallel
from tests.conftest import draw_image
from vae.cache import load_images
from vae.checkpoint import load_state
from vae.config import PretrainConfig
from vae.loss import vae_loss
from vae.model import VAE
from vae.parallel import World, distribute, join_world
from vae.pretrain_vae import pretrain_vae

ROOT = Path(__file__).parents[1]


def gradients(model, network, images, eps) -> dict[str, torch.Tensor]:
    """Of the loss of a batch in training mode, and the buffers that the batch moved."""
    reconstruction, mu, log_var = network(images, eps)
    vae_loss(reconstruction, images, mu, log_var, beta=1e-3, l1_weight=0.1).total.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return found | dict(model.named_buffers())


def a_model_and_batch() -> tuple[VAE, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return VAE(32).double(), torch.rand(8, 3, 32, 32).double(), torch.randn(8, 128).double()


def one_of_two(rank: int, port: int, out: str, compiled: bool) -> None:
    os.environ |= {
        "WORLD_SIZE": "2",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with join_world("cpu") as world:
        model, images, eps = a_model_and_batch()
        own = world.share(len(images))
        network = distribute(model, world)
        if compiled:  # without code generation, which takes a minute
            network = torch.compile(network, backend="aot_eager")
        found = gradients(model, network, images[own], eps[own])
        if world.is_main:
            torch.save(found, out)


@pytest.mark.parametrize("compiled", [False, True])
def test_two_processes_find_the_gradients_and_batch_statistics_of_the_global_batch(
    tmp_path, compiled
):
    """In float64, where only a wrong formula could differ by more than 1e-12."""
    model, images, eps = a_model_and_batch()
    expected = gradients(model, model, images, eps)
    port = 29_000 + os.getpid() % 1000
    mp.spawn(one_of_two, (port, str(tmp_path / "found.pt"), compiled), nprocs=2)
    found = torch.load(tmp_path / "found.pt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-14, msg=name)


def test_torchrun_trains_as_one_process_does_and_the_first_alone_writes(tmp_path):
    """At a learning rate so small that Adam cannot blow rounding up: it divides by |gradient|."""
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    for i in range(36):
        draw_image(i, size=(60, 70)).save(folder / f"{i:06d}.png")
    partition = "".join(f"{i:06d}.png {int(i >= 32)}\n" for i in range(36))
    (folder / "list_eval_partition.txt").write_text(partition)
    load_images(folder, cache, image_size=32)
    values = {
        "data": folder,
        "cache": cache,
        "epochs": 2,
        "batch_size": 8,
        "image_size": 32,
        "lr": 1e-7,
        "precision": "float32",
        "device": "cpu",
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    job = ["-m", "scripts.pretrain_vae", *flags, "--out", str(tmp_path / "two")]
    port = str(30_000 + os.getpid() % 1000)
    done = subprocess.run(
        [*launch, "--master-port", port, *job],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("figures/training.png") == 1
    pretrain_vae(PretrainConfig(**values, out=tmp_path / "one"))
    rows = [
        [json.loads(row) for row in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert len(rows[0]) == len(rows[1]) == 2
    for one, two in zip(*rows, strict=True):
        for name in set(one) - {"images_per_second"}:
            assert two[name] == pytest.approx(one[name], rel=2e-4), name
    one, two = (load_state(tmp_path / run, 32).model for run in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_process_computes_on_its_own_gpu_alone(monkeypatch, name):
    touched = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(vae.parallel, "pick_device", touched.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    vae.parallel._device_of_rank(name)
    assert touched == ["cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="process 3 of this machine finds 2 GPUs"):
        vae.parallel._device_of_rank(name)


def test_a_batch_that_does_not_divide_is_refused():
    world = World(torch.device("cpu"), rank=1, size=3)
    assert world.share(12) == slice(4, 8)
    with pytest.raises(ValueError, match="batch of 16 images does not divide among 3 processes"):
        world.share(16)
