"""What only a CUDA device can show about pretraining."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vae.batches import batch_source
from vae.config import PretrainConfig
from vae.parallel import World
from vae.train import epoch_batches, loss_of_batch, start_or_resume, train_steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def steps(bf16: bool, compiled: bool) -> Iterator[torch.Tensor]:
    """Gradient steps on eight batches of random images."""
    config = PretrainConfig(
        data=Path("."), out=Path("."), batch_size=32, lr=1e-4, compile="on" if compiled else "off"
    )
    images = torch.randint(
        0, 256, (256, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    world = World(torch.device("cuda"))
    _, network, optimizer = start_or_resume(config, world, None)
    source = batch_source(images, torch.arange(256), world.device, config.images, world.size)
    batches = epoch_batches(config, world, source, num_images=256, epoch=0, first=0)
    return train_steps(network, optimizer, loss_of_batch(config, world, bf16), batches, world)


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_never_wait_for_the_device(compiled):
    taken = steps(bf16=True, compiled=compiled)
    next(taken)  # places go to the device once an epoch, kernels compile
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            next(taken)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_steps_are_the_eager_ones():
    losses = [
        torch.stack(list(steps(bf16=False, compiled=compiled))).cpu() for compiled in (False, True)
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-3, atol=1e-4)
