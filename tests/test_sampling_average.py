"""The running average of the noise estimator's weights, and that updates never wait."""

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from diffusion.covariance import Eigenbasis
from diffusion.schedule import cosine_schedule
from sampling.config import TrainConfig
from sampling.noise_estimator import NoiseEstimator
from sampling.train import noise_levels, train_updates


def small_training(device: str):
    """A small network, its average, its optimizer, latents and noise levels, by the seed 0."""
    torch.manual_seed(0)
    data = Eigenbasis(np.zeros(8), np.ones(8), np.eye(8))
    model = NoiseEstimator(data, width=16, depth=2).to(device)
    for parameter in model.parameters():  # some begin at 0
        torch.nn.init.normal_(parameter, std=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    levels = noise_levels(cosine_schedule(10), torch.device(device))
    return model, AveragedModel(model), optimizer, torch.randn(64, 8).to(device), levels


class Bar:
    """A progress bar that calls what is due after each update."""

    def __init__(self, due=()) -> None:
        self.due = iter(due)

    def update(self) -> None:
        next(self.due, lambda: None)()


def config_of(latents, **changes) -> TrainConfig:
    return TrainConfig(latents=latents, out=latents, batch_size=32, device="cpu", **changes)


def test_the_average_is_that_of_torch_to_the_last_bit(tmp_path):
    ours = small_training("cpu")
    model, average = ours[:2]
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    due = [lambda: theirs.update_parameters(model)] * 5
    config = config_of(tmp_path, ema_decay=0.9)
    train_updates(*ours, range(5), config, Bar(due))
    expected = theirs.state_dict()
    assert average.state_dict().keys() == expected.keys()
    for name, value in average.state_dict().items():
        assert torch.equal(value, expected[name]), name


class Reads(TorchDispatchMode):
    """Counts how often a number is read back from a tensor: on a GPU that waits for it."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


def test_updates_read_nothing_back(tmp_path):
    with Reads() as reads:
        train_updates(*small_training("cpu"), range(4), config_of(tmp_path), Bar())
    assert reads.count == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_updates_never_wait_for_the_device(tmp_path):
    def due():
        yield lambda: torch.cuda.set_sync_debug_mode("error")
        for _ in range(4):
            yield lambda: None
        yield lambda: torch.cuda.set_sync_debug_mode("default")  # losses go to the CPU

    try:
        train_updates(*small_training("cuda"), range(6), config_of(tmp_path), Bar(due()))
    finally:
        torch.cuda.set_sync_debug_mode("default")
