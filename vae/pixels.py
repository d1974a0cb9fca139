"""Between bytes as stored and floats as networks take them."""

from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Bytes (B, H, W, 3) -> floats (B, 3, H, W) in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255.0


def to_uint8(images: Tensor) -> Tensor:
    """Floats (B, 3, H, W) in [0, 1] -> the nearest bytes, (B, H, W, 3)."""
    return (images.permute(0, 2, 3, 1) * 255.0).round().clamp(0, 255).byte()
