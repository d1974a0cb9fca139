"""Pretrain the MS-SSIM VAE on face images, resuming where an earlier run stopped.

Example:
    python -m scripts.pretrain_vae --data data/celeba --out runs/vae
"""

from scripts.cli import main
from vae.config import PretrainConfig
from vae.train import pretrain

if __name__ == "__main__":
    main(PretrainConfig, pretrain, __doc__)
