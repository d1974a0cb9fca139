"""What only a CUDA device can show about pretraining."""

from functools import partial
from pathlib import Path

import pytest
import torch

from vae.batches import batch_source
from vae.config import PretrainConfig
from vae.model import VAE
from vae.parallel import World
from vae.train import Job, loss_of_batch, train_steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
DEVICE = torch.device("cuda")


def a_job(bf16: bool, compiled: bool) -> Job:
    """Eight batches of random images."""
    torch.manual_seed(0)
    config = PretrainConfig(data=Path("."), out=Path("."), batch_size=32)
    images = torch.randint(0, 256, (256, 64, 64, 3), dtype=torch.uint8)
    model = VAE().to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    loss = partial(loss_of_batch, beta=1e-3, l1=0.0, bf16=bf16)
    source = batch_source(images, torch.arange(256), DEVICE, "resident", 1)
    loss = torch.compile(loss) if compiled else loss
    return Job(config, World(DEVICE), model, model, optimizer, loss, source, 256)


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
