"""The command encode_latents: encodes a folder of images part by part."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from experiment.device import pick_device
from experiment.folder import open_run
from experiment.progress import tqdm
from experiment.read import reading
from experiment.tensors import checked_tensor, read_tensors, write_tensors
from experiment.write import sha256
from vae.attributes import ATTRIBUTES_FILE, find_directions, read_attributes, save_directions
from vae.cache import ADDED_INPUTS, load_images
from vae.checkpoint import load_vae, weights_path
from vae.config import EncodeConfig
from vae.latents import (
    LATENTS_FILE,
    Latents,
    encode,
    load_latents,
    moments,
    refuse_useless,
    save_latents,
)
from vae.model import LATENT_DIM, VAE

PARTS = "parts"  # folder of finished parts; removed at the end
PART_SIZE = 16_384  # images per part
PART_KIND = "mergelab part of latents, format 1"


def encode_latents(config: EncodeConfig) -> Latents:
    """Encode all images to ``latents.safetensors`` in the run folder, or resume an earlier run.

    Raises:
        FileNotFoundError, OSError, ValueError: data, weights or run folder are not usable.
    """
    device = pick_device(config.device)
    weights = weights_path(config.vae)
    model = load_vae(weights).to(device)
    data = load_images(config.data, config.cache, model.image_size)
    if len(data.images) < 2:
        raise ValueError(
            f"{config.data}: one image, so its latents have no variance, and nothing can be "
            "planned or trained for them; give --data more images"
        )
    inputs = data.inputs() | {"vae": sha256(weights)}
    if config.attributes is not None:
        names, has = read_attributes(config.attributes, data.names)
        inputs["attributes"] = sha256(config.attributes)
    open_run(config.out, "encode_latents", config, inputs, str(device), added_later=ADDED_INPUTS)
    print(f"{len(data.images)} images to encode{data.describe_left_out()}")

    parts = config.out / PARTS
    if (config.out / LATENTS_FILE).exists():
        shutil.rmtree(parts, ignore_errors=True)  # left by a run that was killed at its last step
        return load_latents(config.out / LATENTS_FILE)
    codes = encode_in_parts(model, torch.from_numpy(data.images), config.batch_size, parts)
    if config.attributes is not None:
        found = find_directions(names, has, codes, inputs["vae"])
        save_directions(config.out / ATTRIBUTES_FILE, found)
    mean, covariance = moments(codes)
    with reading(config.data, "images with different latents", "give --data other images"):
        refuse_useless(covariance.diagonal().numpy(), len(codes))
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
    save_latents(config.out / LATENTS_FILE, latents)
    shutil.rmtree(parts)
    return latents


def encode_in_parts(
    model: VAE, images: Tensor, batch_size: int, folder: Path, part_size: int = PART_SIZE
) -> Tensor:
    """Posterior means (N, 128). ``folder`` keeps every finished part.

    Raises:
        OSError, ValueError: a kept part cannot be read, or is damaged.
    """
    codes = []
    with tqdm(total=len(images), desc="encode", unit="img") as bar:
        for first in range(0, len(images), part_size):
            part = images[first : first + part_size]
            path = folder / f"{first:09d}.safetensors"
            if path.exists():
                codes.append(_read_part(path, len(part)))
                bar.update(len(part))
            else:
                codes.append(encode(model, part, batch_size, bar))
                write_tensors(path, {"codes": codes[-1]}, {"kind": PART_KIND})
    return torch.cat(codes)


def _read_part(path: Path, count: int) -> Tensor:
    hint = "remove it to encode it again"
    tensors, _ = read_tensors(path, PART_KIND, hint)
    with reading(path, "a whole part", hint):
        return checked_tensor(tensors, "codes", torch.float32, (count, LATENT_DIM))
