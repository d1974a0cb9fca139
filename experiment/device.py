"""The device that a command runs on: its choice, its fast precision, its memory."""

import ctypes
import sys
from pathlib import Path

import torch


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA if available, else the CPU. Other names are torch's own.

    Raises:
        ValueError: torch does not know the device, or the machine does not have it.
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
    """Whether the device multiplies bf16 faster than float32: CUDA, and CPUs with bf16 units."""
    if device.type == "cuda":
        return True
    cpuinfo = Path("/proc/cpuinfo")
    if device.type != "cpu" or not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Make this process keep freed memory instead of returning it to the operating system.

    glibc maps every allocation above 32 MiB afresh, and the system fills its pages with zeros when
    they are first used. That took a third of a training step on a CPU. Results do not change.

    Returns:
        Whether the C library supports this.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
