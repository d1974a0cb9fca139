"""The convolutional VAE of [OM] App. K, 64x64 RGB images <-> 128-d latents, and other sizes."""

import torch
from torch import Tensor, nn

from vae.images import DEFAULT_IMAGE_SIZE, IMAGE_SIZES

CHANNELS = (32, 64, 128, 256, 512, 512)  # of the blocks, finest first; images of 64 px use five
LATENT_DIM = 128


def block_channels(image_size: int) -> tuple[int, ...]:
    """Channels of the stride-2 blocks that halve the image to a side of 2 or 3 pixels.

    Raises:
        ValueError: the image size is not supported.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image size {image_size} is none of {IMAGE_SIZES}")
    return CHANNELS[: image_size.bit_length() - 2]


def _down(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(),
    )


def _up(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(
            channels_in,
            channels_out,
            kernel_size=3,
            stride=2,
            padding=1,
            output_padding=1,
            bias=False,
        ),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(),
    )


class VAE(nn.Module):
    """Five stride-2 blocks 32-64-128-256-512 to a Gaussian posterior, and the mirrored decoder.

    Images are (B, 3, S, S) in [0, 1]; the decoder ends with a sigmoid. Latents are (B, 128). Images
    of 32 and 48 pixels use one block less than images of 64 and 96, images of 128 one block more.
    """

    def __init__(self, image_size: int = DEFAULT_IMAGE_SIZE) -> None:
        super().__init__()
        self.image_size = image_size
        channels = block_channels(image_size)
        coarse = image_size // 2 ** len(channels)  # side of the coarsest feature map
        pairs = list(zip((3, *channels), channels, strict=False))
        self.encoder = nn.Sequential(*[_down(*pair) for pair in pairs], nn.Flatten())
        width = channels[-1] * coarse**2
        self.to_mu = nn.Linear(width, LATENT_DIM)
        self.to_log_var = nn.Linear(width, LATENT_DIM)
        self.from_latent = nn.Sequential(
            nn.Linear(LATENT_DIM, width), nn.Unflatten(1, (channels[-1], coarse, coarse))
        )
        mirrored = list(zip(channels[::-1], (*channels[-2::-1], channels[0]), strict=True))
        self.decoder = nn.Sequential(
            *[_up(*pair) for pair in mirrored],
            nn.Conv2d(channels[0], 3, kernel_size=3, padding=1),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) -> ``mu`` and ``log_var`` of the posterior, (B, 128) each."""
        features = self.encoder(images)  # (B, 2048) for 64 px
        return self.to_mu(features), self.to_log_var(features)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 128) -> images (B, 3, S, S) in [0, 1]."""
        return torch.sigmoid(self.decoder(self.from_latent(latents)))

    def forward(self, images: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct from the posterior sample mu + exp(log_var / 2) * eps.

        Args:
            images: (B, 3, S, S) in [0, 1].
            eps: Standard normal noise, (B, 128).

        Returns:
            Reconstruction (B, 3, S, S), ``mu`` (B, 128), ``log_var`` (B, 128).
        """
        mu, log_var = self.encode(images)
        return self.decode(mu + torch.exp(0.5 * log_var) * eps), mu, log_var


def to_float(images: Tensor) -> Tensor:
    """Bytes (B, H, W, 3) -> floats (B, 3, H, W) in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255.0


def to_uint8(images: Tensor) -> Tensor:
    """Floats (B, 3, H, W) in [0, 1] -> the nearest bytes, (B, H, W, 3)."""
    return (images.permute(0, 2, 3, 1) * 255.0).round().clamp(0, 255).byte()
