"""One process or many under ``torchrun``: who I am, and batch norm over the global batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from experiment.device import pick_device

Agreed = TypeVar("Agreed")


@dataclass(frozen=True)
class World:
    """The processes of a run and this one's place among them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """The places of a global batch that are this process's.

        Raises:
            ValueError: the batch does not divide among the processes.
        """
        if batch_size % self.size:
            raise ValueError(
                f"a batch of {batch_size} images does not divide among {self.size} processes; "
                "give a --batch-size that does"
            )
        own = batch_size // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, of a tensor on the device."""
        if self.size == 1:
            return values
        summed = values.clone()
        dist.all_reduce(summed)
        return summed / self.size

    def agree(self, value: Agreed) -> Agreed:
        """The value of the process that leads, in all of them; it may hold tensors on the CPU."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


@contextmanager
def join_world(device_name: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, if it did, and leave them at the end.

    Raises:
        ValueError: the device is not here.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(pick_device(device_name))
        return
    device = pick_device(device_name)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def distribute(model: nn.Module, world: World) -> nn.Module:
    """Average the gradients of all processes, and let batch norm see the global batch.

    So a global batch gives what one process makes of it, up to the order of sums. The batch norm
    layers are replaced in ``model``, in place, under their own names and with their own tensors.
    """
    if world.size == 1:
        return model
    if world.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # replaces the children of ``model``
        devices = [world.device.index]
    else:
        _replace_batch_norms(model)
        devices = None
    return DistributedDataParallel(model, device_ids=devices)


class _Mean(torch.autograd.Function):
    """Mean over the processes; a gradient flows back to each by the same mean of the gradients.

    The loss is the mean of the processes' losses, whose gradients DistributedDataParallel averages
    later, so what flows back is the sum over the processes here, times the 1 / size of the mean.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values / dist.get_world_size()

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return _Mean.apply(grad)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes; torch's own SyncBatchNorm needs CUDA.

    The batches of all processes must be of one size, and averages kept, as they are by default.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        work = images.double() if images.dtype == torch.float64 else images.float()
        mean = _Mean.apply(work.mean(dim=(0, 2, 3)))
        centred = work - mean[:, None, None]
        variance = _Mean.apply(centred.square().mean(dim=(0, 2, 3)))
        with torch.no_grad():
            count = dist.get_world_size() * images.numel() // images.shape[1]
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)


def _replace_batch_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replaced = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum)
            replaced.__dict__.update(child.__dict__)  # its parameters, buffers and mode
            setattr(module, name, replaced)
        else:
            _replace_batch_norms(child)
