"""The noise estimator: the closed-form Gaussian denoiser plus a residual that an MLP learns."""

import math

import torch
from torch import Tensor, nn

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Estimate

FREQUENCIES = 16
SMALLEST_VARIANCE = 1e-6  # of an eigenvalue: keeps directions without data finite


class ResidualBlock(nn.Module):
    """h + W2 dropout(silu(scale * W1 norm(h) + shift)), scale and shift from the time."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        """hidden (B, width), time (B or 1, width) -> (B, width)."""
        scale, shift = self.modulation(time).chunk(2, dim=1)
        inner = torch.addcmul(shift, self.inner(self.norm(hidden)), 1 + scale)
        return hidden + self.outer(self.dropout(nn.functional.silu(inner)))


class NoiseEstimator(nn.Module):
    """eps_hat(x_t, alpha, sigma) for latents (B, d), whatever the schedule they were noised by.

    In the eigenbasis of the data, with c = U^T (x_t - alpha mu) and n = alpha**2 lam + sigma**2,

        x_0 = mu + U [alpha lam / n c + alpha sqrt(lam sigma**2 / n) F(c / sqrt(n), u)]

    where F is the MLP and u = 2/pi atan2(sigma, alpha), which is t/T on the cosine schedule. F = 0
    is the optimal denoiser of N(mu, U diag(lam) U^T), and F is its error in units of the standard
    deviation that x_0 has left given x_t; at alpha = 0 no error is possible.
    """

    def __init__(self, data: Eigenbasis, width: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        dim = len(data.mean)
        self.register_buffer("mean", torch.from_numpy(data.mean).float())
        variances = torch.from_numpy(data.variances).clamp(min=SMALLEST_VARIANCE)
        self.register_buffer("variances", variances.float())
        self.register_buffer("basis", torch.from_numpy(data.basis).float())
        self.embed_time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU())
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(depth))
        self.read_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))
        nn.init.zeros_(self.read_out[1].weight)
        nn.init.zeros_(self.read_out[1].bias)

    def residual(self, whitened: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """F, (B, d), from whitened noised latents (B, d); alpha and sigma (B, 1) or (1, 1)."""
        angle = torch.atan2(sigma, alpha) * torch.arange(1, FREQUENCIES + 1, device=alpha.device)
        time = self.embed_time(torch.cat([angle.sin(), angle.cos()], dim=1))
        hidden = self.embed(whitened)
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.read_out(hidden)

    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Estimate from x_t (B, d) at noise levels alpha and sigma > 0, (B, 1) or (1, 1)."""
        noised = alpha.square() * self.variances + sigma.square()  # (B or 1, d)
        centred = (x_t - alpha * self.mean) @ self.basis
        error = self.residual(centred * noised.rsqrt(), alpha, sigma)
        left = (self.variances / noised).sqrt() * alpha  # times sigma: in x_0
        x_0 = alpha * self.variances / noised * centred + sigma * left * error
        eps = sigma / noised * centred - alpha * left * error
        return Estimate(self.mean + x_0 @ self.basis.T, eps @ self.basis.T)

    def denoise(self, x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        """The same for one noise level, as samplers call it."""
        level = x_t.new_tensor([[alpha], [sigma]])
        return self(x_t, level[:1], level[1:])
