"""The device a command runs on: what it does well, and how its memory is used."""

import ctypes
import sys
from pathlib import Path

import torch


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA if there, else the CPU; other names are torch's own.

    Raises:
        ValueError: torch does not know the device, or this machine lacks it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: not available here; try cpu or auto") from error
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 faster than float32: CUDA, and CPUs that say so."""
    if device.type == "cuda":
        return True
    cpuinfo = Path("/proc/cpuinfo")
    if device.type != "cpu" or not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, instead of giving large tensors back to the kernel.

    glibc maps every allocation above 32 MiB anew, and its pages are filled with zeros one by one
    as they are touched: a third of a training step on a CPU. Nothing is computed differently.

    Returns:
        Whether the C library is one that can be told so.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
