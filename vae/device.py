"""The device a job runs on, and what it does well."""

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
