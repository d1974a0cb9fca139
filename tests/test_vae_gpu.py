"""What only a CUDA device can show about pretraining."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import draw_image
from vae.batches import batch_source
from vae.config import PretrainConfig
from vae.parallel import World
from vae.train import compile_loss, epoch_batches, loss_of_batch, start_or_resume, train_steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.fixture(autouse=True)
def float32_convolutions(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def steps(bf16: bool, compiled: bool, lr: float = 1e-4) -> Iterator[torch.Tensor]:
    """Gradient steps on eight batches of smooth images.

    On noise MS-SSIM is ill-conditioned: its contrast terms are near 0, where a small power is
    steep.
    """
    config = PretrainConfig(data=Path("."), out=Path("."), batch_size=32, lr=lr)
    pixels = np.stack([np.asarray(draw_image(i, size=(64, 64))) for i in range(256)])
    images = torch.from_numpy(pixels)
    world = World(torch.device("cuda"))
    _, network, optimizer = start_or_resume(config, world, None)
    loss_of = loss_of_batch(config, bf16)
    if compiled:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        loss_of = compile_loss(loss_of, network, config, world, 32)
        assert loss_of is not None
    source = batch_source(images, torch.arange(256), world.device, config.images, world.size)
    batches = epoch_batches(config, world, source, num_images=256, epoch=0, first=0)
    return train_steps(network, optimizer, loss_of, batches, world)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_steps_never_wait_for_the_device(compiled):
    taken = steps(bf16=True, compiled=compiled)
    next(taken)  # places go to the device once an epoch
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            next(taken)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_steps_are_the_eager_ones_and_replayed_as_graphs():
    """At a learning rate so small that Adam cannot blow rounding up: it divides by |gradient|."""
    eager, compiled = (
        torch.stack(list(steps(bf16=False, compiled=how, lr=1e-7))).cpu() for how in (False, True)
    )
    torch.testing.assert_close(compiled, eager, rtol=2e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert not torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
