"""The job that encodes a folder of images to latents."""

import torch

from vae.cache import load_images
from vae.checkpoint import load_vae, weights_path
from vae.config import EncodeConfig
from vae.device import pick_device
from vae.files import sha256
from vae.latents import FILE_NAME, Latents, encode, moments, save_latents
from vae.run_folder import open_run


def encode_latents(config: EncodeConfig) -> Latents:
    """Encode all images to ``latents.safetensors`` in the run folder.

    Raises:
        FileNotFoundError, ValueError: data, weights or run folder will not do.
    """
    device = pick_device(config.device)
    weights = weights_path(config.vae)
    model = load_vae(weights).to(device)
    data = load_images(config.data, config.cache, model.image_size)
    inputs = {"data": data.fingerprint, "vae": sha256(weights)}
    open_run(config.out, "encode_latents", config, inputs, str(device))

    codes = encode(model, torch.from_numpy(data.images), config.batch_size)
    mean, covariance = moments(codes)
    keep = not config.moments_only
    latents = Latents(
        mean=mean,
        covariance=covariance,
        count=len(codes),
        vae_sha256=inputs["vae"],
        data_fingerprint=data.fingerprint,
        image_size=model.image_size,
        codes=codes if keep else None,
        splits=torch.from_numpy(data.splits) if keep else None,
    )
    save_latents(config.out / FILE_NAME, latents)
    return latents
