"""The noise estimator: the closed-form Gaussian denoiser plus a residual that an MLP learns."""

import torch
from torch import Tensor, nn

from diffusion.covariance import Eigenbasis
from diffusion.denoisers import Estimate

FREQUENCIES = 16
SMALLEST_VARIANCE = 1e-6  # of an eigenvalue: keeps directions without data finite


class ResidualBlock(nn.Module):
    """h + W2 silu(scale * W1 norm(h) + shift), scale and shift from the noise level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        """hidden (B, width), level (B, width) -> (B, width)."""
        scale, shift = self.modulation(level).chunk(2, dim=1)
        inner = torch.addcmul(shift, self.inner(self.norm(hidden)), 1 + scale)
        return hidden + self.outer(nn.functional.silu(inner))


class NoiseEstimator(nn.Module):
    """eps_hat(x_t, alpha, sigma) for latents (B, d), whatever the schedule they were noised by.

    In the eigenbasis of the data, with c = U^T (x_t - alpha mu) and n = alpha**2 lam + sigma**2,

        x_0 = mu + U [alpha lam / n c + alpha sqrt(lam sigma**2 / n) F(c / sqrt(n), u)]

    where F is the MLP and u = 2/pi atan2(sigma, alpha), which is t/T on the cosine schedule. F = 0
    is the optimal denoiser of N(mu, U diag(lam) U^T), and F is its error in units of the standard
    deviation that x_0 has left given x_t; at alpha = 0 no error is possible.
    """

    def __init__(self, data: Eigenbasis, width: int, depth: int) -> None:
        super().__init__()
        dim = len(data.mean)
        self.register_buffer("mean", torch.from_numpy(data.mean).float())
        variances = torch.from_numpy(data.variances).clamp(min=SMALLEST_VARIANCE)
        self.register_buffer("variances", variances.float())
        self.register_buffer("basis", torch.from_numpy(data.basis).float())
        self.embed_level = nn.Sequential(
            nn.Linear(2 * FREQUENCIES + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.read_out = nn.Linear(width, dim)
        self.gain = nn.Linear(width, dim)
        for layer in (self.read_out, self.gain):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def residual(self, whitened: Tensor, share: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """F, (B, d).

        Args:
            whitened: c / sqrt(n), (B, d).
            share: Share of the signal in its variance, alpha**2 lam / n, (B or 1, d).
        """
        orders = torch.arange(1, FREQUENCIES + 1, device=whitened.device)
        angle = torch.atan2(sigma, alpha) * orders  # (B or 1, FREQUENCIES)
        waves = torch.cat([angle.sin(), angle.cos()], dim=1).expand(len(whitened), -1)
        # Slope of the log-likelihood in a common scale of x_0 - mu, over its spread for Gaussians.
        slope = (share * (whitened.square() - 1)).sum(dim=1, keepdim=True)
        scale = slope / share.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        level = self.embed_level(torch.cat([waves, scale], dim=1))
        hidden = self.embed(whitened)
        for block in self.blocks:
            hidden = block(hidden, level)
        return self.read_out(self.norm(hidden)) + self.gain(level) * whitened

    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Estimate from x_t (B, d) at noise levels alpha and sigma > 0, (B, 1) or (1, 1)."""
        centred = (x_t - alpha * self.mean) @ self.basis
        noised = alpha.square() * self.variances + sigma.square()  # (B or 1, d)
        share = alpha.square() * self.variances / noised
        error = self.residual(centred * noised.rsqrt(), share, alpha, sigma)
        step = alpha * (self.variances / noised).sqrt() * error
        x_0 = alpha * self.variances / noised * centred + sigma * step
        eps = sigma / noised * centred - alpha * step
        return Estimate(self.mean + x_0 @ self.basis.T, eps @ self.basis.T)

    def gaussian(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """The same with F = 0: the optimal denoiser of N(mu, U diag(lam) U^T)."""
        centred = (x_t - alpha * self.mean) @ self.basis
        scaled = centred / (alpha.square() * self.variances + sigma.square())
        x_0, eps = alpha * self.variances * scaled, sigma * scaled
        return Estimate(self.mean + x_0 @ self.basis.T, eps @ self.basis.T)

    def denoise(self, x_t: Tensor, alpha: float, sigma: float) -> Estimate:
        """The same for one noise level, as samplers call it."""
        level = x_t.new_tensor([[alpha], [sigma]])
        return self(x_t, level[:1], level[1:])
