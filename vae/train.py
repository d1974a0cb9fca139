"""The training loop: batches, loss, gradient step, in one process or many."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vae.batches import augment, draw, epoch_order
from vae.config import PretrainConfig
from vae.loss import VaeLoss, vae_loss
from vae.model import VAE
from vae.parallel import World

WARMUP_SHARE = 0.05  # of all steps


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up times a cosine from ``peak`` to 0 over ``num_steps`` steps."""
    warmup = min(1.0, (step + 1) / (WARMUP_SHARE * num_steps))
    return peak * warmup * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


def loss_of_batch(
    network: nn.Module, images: Tensor, eps: Tensor, beta: float, l1: float, bf16: bool
) -> VaeLoss:
    """Forward pass in mixed precision, loss in float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        reconstruction, mu, log_var = network(images, eps)
    return vae_loss(reconstruction.float(), images, mu, log_var, beta, l1)


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


def train_steps(job: Job, epoch: int, first: int) -> Iterator[Tensor]:
    """The steps ``first``, first + 1, ... of an epoch, in place on the job's networks.

    Yields:
        After every step the fields of ``VaeLoss`` before it, over the global batch, (4,), on the
        device.
    """
    config, world = job.config, job.world
    order = epoch_order(job.num_images, config.batch_size, config.seed, epoch)
    steps, size = order.shape
    own = world.share(size)
    job.network.train()
    for step, images in enumerate(job.batches(order[first:, own]), start=first):
        key = (config.seed, epoch, step)
        draws = draw(key, size, config.image_size, config.max_shift, world.device).part(own)
        for group in job.optimizer.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, config.epochs * steps, config.lr)
        loss = job.loss(job.network, augment(images, draws), draws.eps)
        job.optimizer.zero_grad()
        loss.total.backward()
        job.optimizer.step()
        yield world.mean(torch.stack(loss).detach())
