"""The noise estimator: the closed-form Gaussian denoiser plus a residual that an MLP learns."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Estimate

FREQUENCIES = 16
SMALLEST_VARIANCE = 1e-6  # of an eigenvalue, so that directions without data stay finite


class ResidualBlock(nn.Module):
    """h + W2 dropout(silu(scale * W1 norm(h) + shift)), scale and shift from the noise level."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, width)
        # The part linear in x_t is known in closed form, so features are nonlinear from the start.
        nn.init.normal_(self.inner.weight, std=(2 / width) ** 0.5)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        """hidden (B, width), level (B, width) -> (B, width)."""
        scale, shift = self.modulation(level).chunk(2, dim=1)
        inner = shift + self.inner(self.norm(hidden)) * (1 + scale)
        change: Tensor = self.outer(self.dropout(nn.functional.silu(inner)))
        return hidden + change


class ResidualMLP(nn.Module):
    """The function F of the estimator below; it is 0 before training."""

    def __init__(self, dim: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.embed_level = nn.Sequential(nn.Linear(2 * FREQUENCIES + 1, width), nn.SiLU())
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.read_out = nn.Linear(width, dim)
        self.gain = nn.Linear(width, dim)
        _zero(self.read_out)
        _zero(self.gain)

    def forward(self, whitened: Tensor, share: Tensor, angle: Tensor) -> Tensor:
        """F, (B, dim).

        Args:
            whitened: c / sqrt(n), (B, dim).
            share: Share of the signal in its variance, alpha**2 lam / n, (B or 1, dim).
            angle: atan2(sigma, alpha), the noise level, (B or 1, 1).
        """
        waves = angle * torch.arange(1, FREQUENCIES + 1, device=angle.device)
        rows = whitened.shape[0]  # len() would fix it for torch.export
        waves = torch.cat([waves.sin(), waves.cos()], dim=1).expand(rows, -1)
        # Slope of the log-likelihood in a common scale of x_0 - mu, relative to its standard
        # deviation for Gaussians: how much larger than usual this latent is.
        slope = (share * (whitened.square() - 1)).sum(dim=1, keepdim=True)
        scale = slope / share.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        level = self.embed_level(torch.cat([waves, scale], dim=1))
        hidden = self.embed(whitened)
        for block in self.blocks:
            hidden = block(hidden, level)
        error: Tensor = self.read_out(self.norm(hidden)) + self.gain(level) * whitened
        return error


class NoiseEstimator(nn.Module):
    """eps_hat(x_t, alpha, sigma) for latents (B, d) noised by any schedule.

    In the eigenbasis of the data, with c = U^T (x_t - alpha mu) and n = alpha**2 lam + sigma**2,

        x_0 = mu + U [alpha lam / n c + alpha sqrt(lam sigma**2 / n) F(c / sqrt(n), level)]

    F = 0 is the optimal denoiser of N(mu, U diag(lam) U^T). A learned F is its error, in units of
    the standard deviation that x_0 has left given x_t; at alpha = 0 no error is possible. The level
    is atan2(sigma, alpha), which is pi/2 t/T on the cosine schedule. ``centre`` and ``spread``
    stand for mu and lam here: the data's ``mean`` and ``variances`` until they are calibrated.
    """

    mean: Tensor  # (d,)
    variances: Tensor  # (d,)
    basis: Tensor  # (d, d)
    centre: Tensor  # (d,)
    spread: Tensor  # (d,)

    def __init__(self, data: Eigenbasis, width: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(data.mean).float())
        variances = torch.from_numpy(data.variances).clamp(min=SMALLEST_VARIANCE)
        self.register_buffer("variances", variances.float())
        self.register_buffer("basis", torch.from_numpy(data.basis).float())
        self.register_buffer("centre", self.mean.clone())
        self.register_buffer("spread", self.variances.clone())
        self.mlp = ResidualMLP(len(data.mean), width, depth, dropout)

    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Estimate from x_t (B, d) at noise levels alpha and sigma > 0, (B, 1) or (1, 1)."""
        noised = alpha.square() * self.spread + sigma.square()  # (B or 1, d)
        share = alpha.square() * self.spread / noised
        with _full_precision(x_t.device.type):  # half precision is for F alone
            centred = (x_t - alpha * self.centre) @ self.basis
        error = self.mlp(centred * noised.rsqrt(), share, torch.atan2(sigma, alpha)).float()
        step = share.sqrt() * error
        x_0 = alpha * self.spread / noised * centred + sigma * step
        eps = sigma / noised * centred - alpha * step
        return self._rotate_back(x_0, eps, self.centre)

    def gaussian(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """The optimal denoiser of N(mu, U diag(lam) U^T), with the data's mean and variances."""
        centred = (x_t - alpha * self.mean) @ self.basis
        scaled = centred / (alpha.square() * self.variances + sigma.square())
        return self._rotate_back(alpha * self.variances * scaled, sigma * scaled, self.mean)

    def _rotate_back(self, x_0: Tensor, eps: Tensor, centre: Tensor) -> Estimate:
        with _full_precision(x_0.device.type):
            return Estimate(centre + x_0 @ self.basis.T, eps @ self.basis.T)

    def denoise(self, x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        """Estimate at one noise level, the form that samplers call."""
        # Filled on the device: copying numbers there would wait for it at every step of a sampler.
        estimate: Estimate = self(x_t, x_t.new_full((1, 1), alpha), x_t.new_full((1, 1), sigma))
        return estimate


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switch autocast off where it is on. Elsewhere nothing is left for torch.export to record."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
