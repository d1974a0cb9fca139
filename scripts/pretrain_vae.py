"""Pretrain the MS-SSIM VAE on face images, resuming where an earlier run stopped.

Examples:
    python -m scripts.pretrain_vae --data data/celeba --out runs/vae
    torchrun --nproc-per-node 4 -m scripts.pretrain_vae --data data/celeba --out runs/vae
"""

from report.training import report_pretraining
from scripts.cli import main
from vae.config import PretrainConfig
from vae.pretrain_vae import pretrain_vae


def run(config: PretrainConfig) -> None:
    """Pretrain, and sum up what is done."""
    if pretrain_vae(config):
        report_pretraining(config.out)


if __name__ == "__main__":
    main(PretrainConfig, run, __doc__)
