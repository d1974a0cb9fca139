"""VAE weights as a file: half-precision safetensors that name their preprocessing."""

from pathlib import Path

import torch

from reading.files import reading
from vae.data import DEFAULT_IMAGE_SIZE, preprocessing_id
from vae.model import VAE
from vae.tensors import read_tensors, whole_number, write_tensors
from vae.weights import check_weights

KIND = "mergelab VAE weights, format 1"
FILE_NAME = "vae.safetensors"
BEST_NAME = "best.safetensors"  # of the epochs of a run, by validation


def embedded_vae() -> Path:
    """The pretrained model that comes with the package."""
    return Path(__file__).parent / "pretrained" / FILE_NAME


def weights_path(vae: Path | None) -> Path:
    """File of a run folder, of a weights file, or (None) of the embedded model."""
    if vae is None:
        return embedded_vae()
    return vae / FILE_NAME if vae.is_dir() else vae


def save_vae(path: Path, model: VAE) -> None:
    """Write the weights, matrices and kernels in float16, vectors (norms, biases) in float32."""
    tensors = {
        name: tensor.half() if tensor.ndim > 1 else tensor
        for name, tensor in model.state_dict().items()
    }
    metadata = {
        "kind": KIND,
        "image_size": str(model.image_size),
        "preprocessing": preprocessing_id(model.image_size),
    }
    write_tensors(path, tensors, metadata)


def load_vae(path: Path) -> VAE:
    """Read weights into a float32 model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the file is missing.
        OSError: it cannot be read.
        ValueError: it is damaged, made for other preprocessing, or does not fit the network.
    """
    tensors, metadata = read_tensors(path, KIND)
    with reading(path, "weights of a VAE", "copy them again, or pretrain again"):
        # Weights from before the size could be chosen do not name it.
        size = whole_number({"image_size": str(DEFAULT_IMAGE_SIZE)} | metadata, "image_size")
        if metadata.get("preprocessing") != preprocessing_id(size):
            raise ValueError(
                f"made for images preprocessed as {metadata.get('preprocessing')}, "
                f"this version prepares {preprocessing_id(size)}"
            )
        model = VAE(size)
        model.load_state_dict(check_weights(tensors, model.state_dict()))
    return model.requires_grad_(False).eval().to(memory_format=torch.channels_last)
