"""One process or several under ``torchrun``: the rank of this one, and global batch norm."""

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
    """The processes of a run, and the rank of this process."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """The part of a global batch that this process computes.

        Raises:
            ValueError: the batch size is not a multiple of the number of processes.
        """
        if batch_size % self.size:
            raise ValueError(
                f"a batch of {batch_size} images does not divide among {self.size} processes; "
                "give a --batch-size that does"
            )
        own = batch_size // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor on the device over all processes."""
        if self.size == 1:
            return values
        summed = values.clone()
        dist.all_reduce(summed)
        return summed / self.size

    def agree(self, value: Agreed) -> Agreed:
        """The main process's value, in all processes. It may hold tensors on the CPU."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


@contextmanager
def join_world(device_name: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, if any, and leave the group at the end.

    Raises:
        ValueError: the device is not available.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(pick_device(device_name))
        return
    device = _device_of_rank(device_name)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _device_of_rank(name: str) -> torch.device:
    """This process's own GPU, or the CPU. No process touches the GPU of another one.

    Raises:
        ValueError: the machine has fewer GPUs than processes, or the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not name.startswith("cuda"):
        return pick_device(name)
    rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= count:
        raise ValueError(
            f"process {rank + 1} of this machine finds {count} GPUs; give torchrun a "
            "--nproc-per-node that is no larger"
        )
    return pick_device(f"cuda:{rank}")


def distribute(model: nn.Module, world: World) -> nn.Module:
    """Average the gradients of all processes, and compute batch norm over the global batch.

    The result equals that of one process with the global batch, up to the order of sums. Batch norm
    layers are replaced in ``model``, in place; they keep their names and tensors.
    """
    return model if world.size == 1 else wrap(model, world.device)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """``distribute`` for any number of processes, one too."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # replaces the children of ``model``
        devices = [device.index]
    else:
        _replace_batch_norms(model)
        devices = None
    # Global batch norm keeps the buffers of all processes equal, so nothing broadcasts them.
    return DistributedDataParallel(
        model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
    )


class _Mean(torch.autograd.Function):
    """Mean over the processes, with its gradient.

    The loss is the mean of the losses of the processes, and DistributedDataParallel averages their
    gradients later. So the gradient here is the sum over the processes times 1 / size.
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
    """Batch norm over the batches of all processes on CPUs; torch's own SyncBatchNorm needs CUDA.

    It serves mainly the tests, which check training in several processes on a machine without GPU.
    The batches of all processes must have the same size, and running averages must be kept.
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
