"""Compare trained VAEs on held-out images: reconstruction against how diagonal the latents are.

Example:
    python -m scripts.compare_vaes --data data/celeba --runs runs/beta_1e-4 runs/beta_3e-4 \\
        --out runs/vaes
"""

from report.vaes import draw_vaes
from scripts.cli import main
from vae.compare import CompareVaesConfig, compare_vaes


def run(config: CompareVaesConfig) -> None:
    """Compare and draw."""
    compared = compare_vaes(config)
    figure = config.out / "vaes.png"
    draw_vaes(figure, compared, config.originals)
    for row in compared.rows:
        print(
            f"{row.run:20} beta {row.beta:<8g} MS-SSIM {row.ms_ssim:.4f}  PSNR {row.psnr:.2f} dB  "
            f"KL {row.kl:.1f}  off-diagonal energy {row.off_diagonal_energy:.1%}  "
            f"variances above 1: {row.variances_above_1}"
        )
    print(f"table: {config.out / 'vaes.csv'}\nfigure: {figure}")


if __name__ == "__main__":
    main(CompareVaesConfig, run, __doc__)
