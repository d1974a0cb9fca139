"""The device that a command runs on: its choice, its fast precision, its memory."""

import ctypes
import sys
from pathlib import Path

import torch


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA if it works, else the CPU. Other names are torch's own.

    A CUDA device with a number becomes the current one, where streams and graphs are made. On CUDA
    float32 convolutions are from now on what they are called: cuDNN would round their inputs to
    TF32, and latents and plans would differ from a CPU's in the third digit.

    Raises:
        ValueError: torch does not know the device, or it does not compute on this machine.
    """
    device = _working_gpu_or_cpu() if name == "auto" else _working_device(name)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device


def _working_gpu_or_cpu() -> torch.device:
    if torch.cuda.is_available():
        try:
            return _compute(torch.device("cuda"))
        except RuntimeError as error:
            print(f"the GPU is not used: {_first_line(error)}", file=sys.stderr)
    return torch.device("cpu")


def _working_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return _compute(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {name}: not available here ({_first_line(error)}); try cpu or auto"
        ) from error


def _compute(device: torch.device) -> torch.device:
    """Run a kernel and wait for it: an installed torch may hold no kernels for a GPU that it sees.

    Raises:
        RuntimeError: it did not run.
    """
    (torch.zeros(1, device=device) + 1.0).cpu()
    return device


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 faster than float32: newer GPUs, CPUs with bf16 units.

    NVIDIA's GPUs do so from compute capability 8.0 on; older ones emulate bf16, if at all.
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
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
