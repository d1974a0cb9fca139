"""The command compare_operators: how far the estimator's DDIM steps are from linear operators."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.gaussian import ddim_operators
from diffusion.grid import uniform_t_grid
from diffusion.samplers import ddim
from diffusion.schedule import TeacherSchedule
from diffusion.schedule_choice import choose_schedule, schedule_fingerprint
from experiment.folder import RESULTS
from experiment.progress import tqdm
from experiment.write import write_rows
from sampling.config import OperatorConfig
from sampling.inputs import open_with_latents
from sampling.noise_estimator import NoiseEstimator

Array = NDArray[np.float64]
NOISE_DRAWS = 8  # noised copies per latent


@dataclass(frozen=True)
class StepRow:
    """The estimator's step x_t -> x_{t-1} compared with linear steps, on noised held-out latents.

        departure = E|x_est - x_lin|**2 / E|x_true - x_lin|**2

    x_true is the step with the true latent and noise, so the departure is the share of the linear
    step's squared error that the estimator claims to remove.
    """

    t: int
    from_full: float  # departure from the linear step with the full covariance
    from_diagonal: float  # departure from the planner's step, with the variances only
    error_removed: (
        float  # share of the full-covariance step's squared error that the estimator really removes
    )
    operator_error: float  # root mean square over coordinates of fitted - closed_form


@dataclass(frozen=True, eq=False)
class Operators:
    """One-step operators in the eigenbasis (row t - 1 belongs to step t), and the departures."""

    eigenvalues: Array  # in increasing order, (d,)
    closed_form: Array  # A_t, (T, d)
    fitted: Array  # least squares over noised latents, (T, d)
    rows: list[StepRow]


@torch.no_grad()
def measure_operators(
    estimator: NoiseEstimator, latents: Tensor, schedule: TeacherSchedule, seed: int
) -> Operators:
    """Fit a diagonal operator to every DDIM step of the estimator, and compute the departures.

        a_i = sum c_i c'_i / sum c_i**2,  c = U^T (x_t - alpha_t mu),
        c' = U^T (x_{t-1} - alpha_{t-1} mu), sums over noised latents

    Args:
        latents: Held-out latents, (N, d), on the estimator's device.
    """
    mean, basis = estimator.mean, estimator.basis
    eigenvalues = estimator.variances.double().cpu().numpy()
    variances = (basis.square() @ estimator.variances).double().cpu().numpy()
    closed_form, diagonal = (ddim_operators(schedule, lam) for lam in (eigenvalues, variances))
    generator = torch.Generator().manual_seed(seed)
    x_0 = latents.repeat(NOISE_DRAWS, 1)
    fitted, rows = np.zeros_like(closed_form), []
    steps = uniform_t_grid(schedule, schedule.num_steps).steps()[::-1]
    for t, step in enumerate(tqdm(steps, unit="step", desc="operators"), start=1):
        eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        x_t = step.alpha_t * x_0 + step.sigma_t * eps
        x_u = ddim(x_t, step, estimator.denoise(x_t, step.alpha_t, step.sigma_t), None, None)
        before, after = (x_t - step.alpha_t * mean) @ basis, (x_u - step.alpha_u * mean) @ basis
        fitted[t - 1] = ((before * after).sum(dim=0) / before.square().sum(dim=0)).cpu().numpy()
        full = step.alpha_u * mean + before * _like(closed_form[t - 1], x_t) @ basis.T
        alone = step.alpha_u * mean + (x_t - step.alpha_t * mean) * _like(diagonal[t - 1], x_t)
        error = np.sqrt(np.mean((fitted[t - 1] - closed_form[t - 1]) ** 2))
        truth = step.alpha_u * x_0 + step.sigma_u * eps
        rows.append(
            StepRow(
                t,
                _ratio(x_u - full, truth - full),
                _ratio(x_u - alone, truth - alone),
                1 - _ratio(truth - x_u, truth - full),
                float(error),
            )
        )
    return Operators(eigenvalues, closed_form, fitted, rows)


def _like(array: Array, tensor: Tensor) -> Tensor:
    return torch.from_numpy(array).to(tensor)


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part.square().sum() / whole.square().sum()).item()


def compare_operators(config: OperatorConfig) -> Operators:
    """Measure on the held-out latents and write the departures to ``results.csv``.

    Raises:
        FileNotFoundError, ValueError: models, latents or run folder are not usable.
    """
    schedule = choose_schedule(config, config.num_steps)
    fingerprint = schedule_fingerprint(config)
    models, _, held_out = open_with_latents("compare_operators", config, schedule, fingerprint)
    found = measure_operators(models.estimator, held_out.to(models.device), schedule, config.seed)
    write_rows(config.out / RESULTS, found.rows, StepRow)
    return found
