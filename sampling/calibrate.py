"""The last step of training: give the estimator's samples the moments of the training latents."""

import torch
from tqdm import trange

from diffusion.grid import uniform_log_snr_grid
from diffusion.noise_estimator import NoiseEstimator
from diffusion.samplers import dpmpp_2m, sample

ROUNDS = 3
COUNT = 4_096
NUM_STEPS, Q_MAX, Q_MIN = 40, 20.0, 0.02


@torch.no_grad()
def calibrate(model: NoiseEstimator, seed: int) -> None:
    """Move ``centre`` and ``spread``, in place, until the flow has the data's mean and variances.

    A network that has seen its latents often denoises new ones a little too boldly, and its flow
    ends a few per cent too narrow. What the flow makes of noise is set beside what the Gaussian's
    own flow, mu + U diag(sqrt(lam)) U^T x_T, makes of the same noise, direction by direction:

        centre += mean of the difference,  spread *= ratio of the variances
    """
    generator = torch.Generator().manual_seed(seed)
    x_T = torch.randn(COUNT, len(model.mean), generator=generator).to(model.mean)
    goal = x_T @ model.basis * model.variances.sqrt()  # U^T (x_0 - mu), (COUNT, d)
    grid = uniform_log_snr_grid(NUM_STEPS, Q_MAX, Q_MIN)
    for _ in trange(ROUNDS, unit="round", desc="calibrate"):
        x_0 = torch.cat([sample(dpmpp_2m, model.denoise, grid, x) for x in x_T.split(512)])
        found = (x_0 - model.mean) @ model.basis
        model.centre += (goal - found).mean(dim=0) @ model.basis.T
        model.spread *= goal.var(dim=0) / found.var(dim=0)
