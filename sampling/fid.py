"""FID of drawn faces against a folder of images, by torch-fidelity, which is an extra.

At its first use torch-fidelity downloads the weights of Inception.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

FID_FILE = "fid.json"


class _Images(Dataset[Tensor]):
    """Images as torch-fidelity takes them: uint8 of shape (3, H, W)."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Tensor:
        return self.images[number].permute(2, 0, 1)


def fid(faces: Tensor, images: Tensor, weights: Path | None = None) -> float:
    """The Fréchet inception distance of two sets of images, (N, H, W, 3) and (M, H, W, 3) uint8.

    Args:
        weights: Weights of Inception in the format of torch-fidelity, which downloads them else.
    """
    import torch_fidelity

    found = torch_fidelity.calculate_metrics(
        input1=_Images(faces),
        input2=_Images(images),
        fid=True,
        cuda=torch.cuda.is_available(),
        cache=False,
        verbose=False,
        feature_extractor_weights_path=None if weights is None else str(weights),
    )
    return float(found["frechet_inception_distance"])
