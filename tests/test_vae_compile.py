"""Compiled gradient steps: the eager ones where they compile, and eager ones where they do not."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import vae.train
from tests.conftest import draw_image
from vae.batches import batch_source
from vae.config import PretrainConfig
from vae.evaluate import evaluate_vae
from vae.parallel import World
from vae.pretrain_vae import pretrain_vae
from vae.train import compile_loss, epoch_batches, loss_of_batch, start_or_resume, train_steps

COMPILE = torch.compile
WORLD = World(torch.device("cpu"))


@pytest.fixture
def traced(monkeypatch):
    """Compilation without code generation: it traces forward and backward, and runs their graphs.

    Tracing is where a step breaks into several graphs; generating code takes a minute here.
    Returns what the tracer counts.
    """
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(
        torch, "compile", lambda loss, mode: COMPILE(loss, backend="aot_eager", fullgraph=True)
    )
    return counters


def config(**changes) -> PretrainConfig:
    values = {"data": Path("."), "out": Path("."), "batch_size": 8, "image_size": 32, "lr": 1e-7}
    return PretrainConfig(**values | {"compile": "on"} | changes)


def pixels(count: int) -> torch.Tensor:
    images = [np.asarray(draw_image(i, size=(32, 32))) for i in range(count)]
    return torch.from_numpy(np.stack(images))


def losses_of_two_epochs(asked: PretrainConfig, bf16: bool, compiled: bool) -> torch.Tensor:
    """With a validation in between, as training has it."""
    images = pixels(24)
    model, network, optimizer = start_or_resume(asked, WORLD, None)
    loss_of = loss_of_batch(asked, bf16)
    if compiled:
        loss_of = compile_loss(loss_of, network, asked, WORLD, 8)
    source = batch_source(images, torch.arange(24), WORLD.device, "resident", 1)
    found = []
    for epoch in range(2):
        batches = epoch_batches(asked, WORLD, source, 24, epoch, 0)
        found += list(train_steps(network, optimizer, loss_of, batches, WORLD))
        evaluate_vae(model, images[:8])
    return torch.stack(found)


@pytest.mark.parametrize(("bf16", "l1"), [(False, 0.1), (True, 0.0)])
def test_a_compiled_step_is_one_graph_and_gives_the_eager_losses(traced, bf16, l1):
    asked = config(l1=l1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lru_cache.*")
        compiled = losses_of_two_epochs(asked, bf16, compiled=True)
    assert traced["stats"]["unique_graphs"] == 1
    assert not traced["graph_break"]
    eager = losses_of_two_epochs(asked, bf16, compiled=False)
    tolerance = 1e-2 if bf16 else 1e-5  # fused operators round less often to bf16
    torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)


def fails_forward(loss_of, mode):
    def compiled(*arguments):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    return compiled


def fails_backward(loss_of, mode):
    def refuse(grad):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    def compiled(*arguments):
        loss = loss_of(*arguments)
        loss.total.register_hook(refuse)
        return loss

    return compiled


@pytest.mark.parametrize("broken", [fails_forward, fails_backward])
def test_where_compilation_fails_training_is_eager_says_so_and_records_it(
    image_folder, tmp_path, monkeypatch, capsys, broken
):
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    found = {}
    for how, compile_ in (("off", COMPILE), ("on", broken)):
        monkeypatch.setattr(torch, "compile", compile_)
        asked = PretrainConfig(
            data=image_folder,
            out=tmp_path / how,
            cache=tmp_path / "cache",
            epochs=1,
            batch_size=8,
            image_size=32,
            device="cpu",
            compile=how,
        )
        pretrain_vae(asked)
        row = json.loads((asked.out / "metrics.jsonl").read_text())
        facts = json.loads((asked.out / "config.json").read_text())["facts"]
        found[how] = row | {"images_per_second": 0}, facts.get("compiled")
    assert found["off"] == (found["on"][0], None)  # to the last bit: the trial leaves no trace
    assert found["on"][1] is False
    out = capsys.readouterr().out
    assert "not compiled, so training is slower: Failed to find C compiler.\n" in out


def test_where_compilation_fails_in_one_of_several_processes_the_run_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "compile", fails_forward)
    asked = config()
    _, network, _ = start_or_resume(asked, WORLD, None)
    with pytest.raises(ValueError, match=r"^--compile on: Failed to find .*; give --compile off$"):
        compile_loss(loss_of_batch(asked, False), network, asked, World(WORLD.device, 0, 2), 8)


def test_gradients_are_gone_when_a_compiled_loss_is_computed(monkeypatch):
    """Replayed CUDA graphs write where the gradients of the last step were."""
    asked, calls = config(), []

    def compiled(network, images, eps):
        calls.append(all(parameter.grad is None for parameter in network.parameters()))
        return loss_of_batch(asked, False)(network, images, eps)

    monkeypatch.setattr(torch, "compile", lambda loss, mode: compiled)
    losses_of_two_epochs(asked, bf16=False, compiled=True)
    assert len(calls) == vae.train.WARM_UP_STEPS + 6
    assert all(calls)


def test_the_speed_of_an_epoch_counts_the_wait_for_the_device(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("vae.images.HOLDOUT", 0.2)
    clock = [0.0]
    join = vae.train.join_losses

    def join_losses(*arguments):
        clock[0] += 100.0
        return join(*arguments)

    monkeypatch.setattr(vae.train, "join_losses", join_losses)
    monkeypatch.setattr(vae.train.time, "perf_counter", lambda: clock[0])
    asked = PretrainConfig(
        data=image_folder,
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        epochs=1,
        batch_size=8,
        image_size=32,
        device="cpu",
    )
    pretrain_vae(asked)
    row = json.loads((asked.out / "metrics.jsonl").read_text())
    assert 8 <= 100.0 * row["images_per_second"] <= 40  # images of the epoch
