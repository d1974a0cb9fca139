"""Small real inputs: images drawn here, and a VAE with latents of its own."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill.config import CompareConfig
from experiment.write import sha256
from tests.chromium import chromium
from vae.checkpoint import VAE_FILE, save_vae
from vae.images import DEFAULT_IMAGE_SIZE
from vae.latents import LATENTS_FILE, Latents, moments, save_latents
from vae.model import LATENT_DIM, VAE

# A shell without job control starts background processes with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the robustness sweep, which is the longest file and runs in one worker alone.

    In tests of the theory NumPy's warnings are errors.
    """
    items.sort(key=lambda item: item.path.name != "test_robustness.py")
    for item in items:  # an overflow or a division by 0 in the theory is an error, not a remark
        if item.path.name.startswith(("test_planner_", "test_diffusion_")):
            item.add_marker(pytest.mark.filterwarnings("error::RuntimeWarning"))


@pytest.fixture(scope="session")
def needs_chromium() -> None:
    """Skip where no browser starts."""
    if chromium() is None:
        pytest.skip("needs Chromium")


def draw_image(seed: int, size: tuple[int, int] = (178, 218)) -> Image.Image:
    """A smooth picture unlike any other seed's."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Forty JPEGs in CelebA's layout."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for i in range(40):
        draw_image(i).save(folder / f"{i + 1:06d}.jpg", quality=95)
    return tmp_path / "celeba"


@pytest.fixture
def model_run(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of an untrained VAE and of latents, with codes, that name it."""
    return make_model_run(tmp_path)


def make_model_run(folder: Path, image_size: int = DEFAULT_IMAGE_SIZE) -> tuple[Path, Path]:
    """The same in ``folder``, for images of that size."""
    torch.manual_seed(0)
    weights = folder / "vae" / VAE_FILE
    save_vae(weights, VAE(image_size))
    scales = torch.linspace(0.2, 1.3, LATENT_DIM).sqrt()
    codes = torch.randn(500, LATENT_DIM) * scales + 0.3
    mean, covariance = moments(codes)
    latents = Latents(
        mean=mean,
        covariance=covariance,
        count=len(codes),
        vae_sha256=sha256(weights),
        data_fingerprint="drawn by the test",
        codes=codes,
        image_size=image_size,
        splits=torch.zeros(len(codes), dtype=torch.uint8),
    )
    save_latents(folder / "latents" / LATENTS_FILE, latents)
    return weights.parent, folder / "latents"


def small_comparison(out: Path, model_run: tuple[Path, Path], **flags: object) -> CompareConfig:
    """A comparison of seconds, on what ``make_model_run`` made."""
    vae, latents = model_run
    small = {"num_steps": 4, "steps_per_merge": (2, 40), "engine": "closed_form", "batch_size": 256}
    same = {"out": out, "vae": vae, "latents": latents, "num_images": 4, "device": "cpu"}
    return CompareConfig(**(small | same | flags))
