"""Denoisers: estimates of x_0 and eps from x_t, from a network's prediction or in closed form."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion.covariance import Eigenbasis
from diffusion.schedule import Prediction


class Estimate(NamedTuple):
    """Estimates of the two halves of x_t = alpha x_0 + sigma eps, (B, d) each."""

    x_0: Tensor
    eps: Tensor


Denoiser = Callable[[Tensor, float, float], Estimate]
"""(x_t (B, d), alpha, sigma) -> Estimate, for any noise level with sigma > 0."""
Network = Callable[[Tensor, float, float], Tensor]
"""(x_t (B, d), alpha, sigma) -> eps, x_0 or v of shape (B, d)."""


def estimate_from(
    prediction: Prediction, output: Tensor, x_t: Tensor, alpha: float, sigma: float
) -> Estimate:
    """Both halves of x_t = alpha x_0 + sigma eps, from the one quantity that a network predicts.

        eps:  x_0 = (x_t - sigma eps) / alpha
        x_0:  eps = (x_t - alpha x_0) / sigma
        v = alpha eps - sigma x_0:  x_0 = alpha x_t - sigma v,  eps = sigma x_t + alpha v

    Salimans & Ho 2022 (arXiv:2202.00512), App. D, for v.

    Raises:
        ValueError: eps is predicted and alpha is 0, or x_0 is predicted and sigma is 0: the other
            half is then unknown.
    """
    match prediction:
        case "eps":
            if alpha == 0:
                raise ValueError(
                    "an eps prediction says nothing about x_0 at alpha = 0; start the grid below "
                    "pure noise, or predict x_0 or v"
                )
            return Estimate((x_t - sigma * output) / alpha, output)
        case "x_0":
            if sigma == 0:
                raise ValueError("an x_0 prediction says nothing about eps at sigma = 0")
            return Estimate(output, (x_t - alpha * output) / sigma)
        case "v":
            return Estimate(alpha * x_t - sigma * output, sigma * x_t + alpha * output)
    raise ValueError(f"prediction must be eps, x_0 or v, got {prediction}")


def denoiser_of(network: Network, prediction: Prediction) -> Denoiser:
    """The denoiser made of a network that predicts eps, x_0 or v."""

    def denoise(x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        return estimate_from(prediction, network(x_t, alpha, sigma), x_t, alpha, sigma)

    return denoise


def gaussian_denoiser(data: Eigenbasis) -> Denoiser:
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(mu, U diag(lam) U^T), in closed form.

        x_0 = mu + U diag(alpha lam / n) U^T c,  eps = U diag(sigma / n) U^T c,
        c = x_t - alpha mu,  n = alpha**2 lam + sigma**2

    [OM] Prop. 3.1, with mean and full covariance.
    """
    mean, variances, basis = (
        torch.from_numpy(part) for part in (data.mean, data.variances, data.basis)
    )

    def denoise(x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        mu, lam, axes = (part.to(x_t) for part in (mean, variances, basis))
        scaled = (x_t - alpha * mu) @ axes / (alpha**2 * lam + sigma**2)
        return Estimate(mu + (alpha * lam * scaled) @ axes.T, (sigma * scaled) @ axes.T)

    return denoise


def mixture_denoiser(weights: Tensor, components: list[Eigenbasis]) -> Denoiser:
    """E[x_0 | x_t] and E[eps | x_t] for a mixture of Gaussians, in closed form.

        x_0 = sum_k p_k(x_t) x_0^(k),  p_k ~ w_k N(x_t; alpha mu_k, alpha**2 Sigma_k + sigma**2 I)

    x_0^(k) is the estimate of component k alone. The same holds for eps.

    Args:
        weights: w_k > 0, (K,); they add up to 1.
        components: K Gaussians.

    Raises:
        ValueError: the weights are not K positive numbers that add up to 1.
    """
    if len(weights) != len(components) or (weights <= 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(
            f"{len(components)} components need as many positive weights that add up to 1, "
            f"got {weights.tolist()}"
        )
    denoisers = [gaussian_denoiser(component) for component in components]

    def log_density(x_t: Tensor, data: Eigenbasis, alpha: float, sigma: float) -> Tensor:
        mu, lam, axes = (
            torch.from_numpy(part).to(x_t) for part in (data.mean, data.variances, data.basis)
        )
        noised = alpha**2 * lam + sigma**2
        centred = (x_t - alpha * mu) @ axes
        return -0.5 * (centred.square() / noised + noised.log()).sum(dim=1)  # up to a constant

    def denoise(x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        logits = torch.stack([log_density(x_t, data, alpha, sigma) for data in components])
        posterior = (logits + weights.to(x_t).log()[:, None]).softmax(dim=0)  # (K, B)
        parts = [component(x_t, alpha, sigma) for component in denoisers]
        return Estimate(
            torch.einsum("kb,kbd->bd", posterior, torch.stack([part.x_0 for part in parts])),
            torch.einsum("kb,kbd->bd", posterior, torch.stack([part.eps for part in parts])),
        )

    return denoise
