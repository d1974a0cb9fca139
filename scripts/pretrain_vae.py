"""Pretrain the MS-SSIM VAE on face images, or resume an earlier run.

Examples:
    mergelab pretrain_vae --data data/celeba --out runs/vae
    torchrun --nproc-per-node 4 -m scripts.pretrain_vae --data data/celeba --out runs/vae
"""

from scripts.cli import main
from vae.config import PretrainConfig


def run(config: PretrainConfig) -> None:
    """Pretrain, then report once all epochs are done."""
    from report.training import report_pretraining
    from vae.pretrain_vae import pretrain_vae

    if pretrain_vae(config):
        report_pretraining(config.out)


if __name__ == "__main__":
    main(PretrainConfig, run, __doc__)
