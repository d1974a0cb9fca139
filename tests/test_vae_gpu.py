"""What only a CUDA device can show about pretraining."""

from pathlib import Path

import pytest
import torch

from vae.config import PretrainConfig
from vae.parallel import World
from vae.train import Job, prepare, train_steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def a_job(bf16: bool, compiled: bool) -> Job:
    """Eight batches of random images."""
    config = PretrainConfig(
        data=Path("."), out=Path("."), batch_size=32, lr=1e-4, compile="on" if compiled else "off"
    )
    images = torch.randint(
        0, 256, (256, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return prepare(config, World(torch.device("cuda")), bf16, None, images, torch.arange(256))


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_never_wait_for_the_device(compiled):
    steps = train_steps(a_job(bf16=True, compiled=compiled), epoch=0, first=0)
    next(steps)  # places go to the device once an epoch, kernels compile
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            next(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_steps_are_the_eager_ones():
    losses = [
        torch.stack(list(train_steps(a_job(bf16=False, compiled=compiled), 0, 0))).cpu()
        for compiled in (False, True)
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-3, atol=1e-4)
