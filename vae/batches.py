"""Training batches: order, flips, shifts and noise, each depends only on (seed, epoch, step)."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiment.seeds import keyed_generator
from vae.model import LATENT_DIM, to_float

_ORDER, _FIRST_STEP = 0, 1  # last parts of the keys: the order of an epoch, then its steps
_RESIDENT_SHARE = 0.5  # share of the device's free memory for the training images
_AHEAD = 4  # batches that are read from disk in advance


@dataclass(frozen=True, eq=False)
class Draws:
    """The randomness of one batch, on the images' device."""

    rows: Tensor  # (B, S) source row of every target row
    columns: Tensor  # (B, S)
    eps: Tensor  # (B, 128) posterior noise

    def part(self, places: slice) -> "Draws":
        """The draws for some places of the batch."""
        return Draws(self.rows[places], self.columns[places], self.eps[places])


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> Tensor:
    """Indices of the images in every batch of an epoch, (steps, B), on the CPU.

    The incomplete last batch is not used, except where it is the only one, because batch norm is
    noisy on a few images.
    """
    size = min(batch_size, count)
    order = torch.randperm(count, generator=keyed_generator(seed, epoch, _ORDER))
    return order[: count // size * size].view(-1, size)


def draw(
    key: tuple[int, int, int], size: int, image_size: int, max_shift: int, device: torch.device
) -> Draws:
    """Random flips of half of the images and shifts of all by up to ``max_shift`` pixels per axis.

    Args:
        key: Seed, epoch and step. Another kind of device draws other numbers.
        size: Number of images in the batch.
    """
    seed, epoch, step = key
    generator = keyed_generator(seed, epoch, _FIRST_STEP + step, device=device)
    shift = torch.randint(
        -max_shift, max_shift + 1, (2, size, 1), generator=generator, device=device
    )
    pixels = torch.arange(image_size, device=device)
    rows, columns = (pixels + shift).clamp(
        0, image_size - 1
    )  # pixels beyond the edge repeat the edge
    flip = torch.rand(size, 1, generator=generator, device=device) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    return Draws(rows, columns, torch.randn(size, LATENT_DIM, generator=generator, device=device))


def augment(images: Tensor, draws: Draws) -> Tensor:
    """Stored bytes (B, S, S, 3) -> floats (B, 3, S, S), flipped and shifted."""
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return to_float(images[batch, draws.rows[:, :, None], draws.columns[:, None, :]])


def resident_batches(images: Tensor, order: Tensor) -> Iterator[Tensor]:
    """Batches of uint8 images (N, S, S, 3) that are in the memory of the device.

    Args:
        order: Indices of the images in every batch, (steps, B).
    """
    for places in order.to(images.device):
        yield images[places]


def streamed_batches(images: Tensor, order: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Batches of images in a memory-mapped file, which a thread reads in advance."""
    pin = device.type == "cuda"

    def read(places: Tensor) -> Tensor:
        batch = images[places]
        return batch.pin_memory() if pin else batch

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        waiting: deque[Future[Tensor]] = deque()
        try:
            for places in order:
                waiting.append(reader.submit(read, places))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result().to(device, non_blocking=True)
            while waiting:
                yield waiting.popleft().result().to(device, non_blocking=True)
        finally:
            reader.shutdown(cancel_futures=True)


def batch_source(
    images: Tensor, rows: Tensor, device: torch.device, how: str, num_processes: int
) -> Callable[[Tensor], Iterator[Tensor]]:
    """A function from batch indices (steps, B) into ``rows`` to an iterator of image batches.

    Args:
        images: Memory-mapped uint8 (N, S, S, 3).
        rows: Indices of the training images, (n,).
        how: "resident" on the device, "streamed", or "auto": resident if the images take at most
                    half of its free memory.
        num_processes: Number of processes that share the memory of a CPU.
    """
    size = len(rows) * images[0].nbytes
    fits = size <= _RESIDENT_SHARE * _free_memory(device, num_processes)
    if how == "resident" or (how == "auto" and fits):
        return partial(resident_batches, images[rows].to(device))
    return lambda order: streamed_batches(images, rows[order], device)


def _free_memory(device: torch.device, num_processes: int) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // num_processes
