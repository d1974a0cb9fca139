"""The gradient steps of an epoch: batch, loss, step, in one process or many."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vae.batches import augment, draw, epoch_order
from vae.job import Job

WARMUP_SHARE = 0.05  # of all steps


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up times a cosine from ``peak`` to 0 over ``num_steps`` steps."""
    warmup = min(1.0, (step + 1) / (WARMUP_SHARE * num_steps))
    return peak * warmup * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))


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
