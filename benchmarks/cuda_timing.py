"""Seconds and kernels of work that a CUDA device does behind its queue."""

import time
from collections.abc import Callable

import torch


def wait_for(device: torch.device) -> None:
    """Wait until a CUDA device has done all that was queued; a CPU never lags behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done the work."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def count_kernels(work: Callable[[], object]) -> int:
    """Kernels that run on the CUDA device meanwhile, those of captured graphs among them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    kinds = [event.device_type for event in profiler.events()]
    return sum(kind == torch.autograd.DeviceType.CUDA for kind in kinds)
