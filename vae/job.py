"""What a training works with: networks, optimizer, loss, and the way to its batches."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vae.batches import batch_source
from vae.config import PretrainConfig
from vae.device import has_fast_bf16
from vae.loss import VaeLoss, vae_loss
from vae.model import VAE
from vae.parallel import World, distribute
from vae.training_state import TrainingState
from vae.weights import restore_optimizer


@dataclass(frozen=True, eq=False)
class Job:
    """What a training works with; the networks and the optimizer change in place."""

    config: PretrainConfig
    world: World
    model: VAE
    network: nn.Module  # the model, or its wrapper that averages over processes
    optimizer: torch.optim.Optimizer
    loss: Callable[[nn.Module, Tensor, Tensor], VaeLoss]
    batches: Callable[[Tensor], Iterator[Tensor]]  # places (steps, B) -> uint8 images
    num_images: int


def convolves_in_bf16(config: PretrainConfig, device: torch.device) -> bool:
    """Whether convolutions run in bf16; the loss never does."""
    return config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(device))


def compiles(config: PretrainConfig, world: World) -> bool:
    """Whether forward pass and loss are compiled; untried with several processes."""
    one_gpu = world.size == 1 and world.device.type == "cuda"
    return config.compile == "on" or (config.compile == "auto" and one_gpu)


def prepare(
    config: PretrainConfig,
    world: World,
    bf16: bool,
    saved: TrainingState | None,
    images: Tensor,
    rows: Tensor,
) -> Job:
    """Networks and optimizer as they start, or as they were saved, and the way to batches.

    Args:
        images: uint8 (N, S, S, 3), memory-mapped.
        rows: Which of them are trained on, (n,).
    """
    torch.manual_seed(config.seed)
    model = VAE(config.image_size)
    if saved:
        model.load_state_dict(saved.model)
    model.to(world.device).to(memory_format=torch.channels_last)
    network = distribute(model, world)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0, fused=True)
    if saved:
        restore_optimizer(optimizer, saved.optimizer)
    loss: Callable[..., VaeLoss] = partial(loss_of_batch, beta=config.beta, l1=config.l1, bf16=bf16)
    if compiles(config, world):
        if shutil.which(os.environ.get("CXX", "c++")):
            torch._dynamo.config.suppress_errors = True  # what will not compile runs as written
            loss = torch.compile(loss)
        else:
            print("no C++ compiler here, so nothing is compiled: training runs, only slower")
    batches = batch_source(images, rows, world.device, config.images, world.size)
    return Job(config, world, model, network, optimizer, loss, batches, len(rows))


def loss_of_batch(
    network: nn.Module, images: Tensor, eps: Tensor, beta: float, l1: float, bf16: bool
) -> VaeLoss:
    """Forward pass in mixed precision, loss in float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        reconstruction, mu, log_var = network(images, eps)
    return vae_loss(reconstruction.float(), images, mu, log_var, beta, l1)
