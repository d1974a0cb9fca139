"""The device a job runs on."""

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
