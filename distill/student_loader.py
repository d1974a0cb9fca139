"""A student of mergelab: noise -> latents. Needs torch and safetensors alone."""

import torch
from safetensors.torch import load_file


class Student(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        for name, tensor in load_file(path).items():
            self.register_buffer(name, tensor)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:  # (B, d), from N(0, I)
        a = self.get_buffer("operator")  # (d,), or for rotated latents (d, d)
        return self.get_buffer("mean") + (a * noise if a.ndim == 1 else noise @ a.T)
