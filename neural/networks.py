"""x0-networks of several members side by side: small MLPs, and the noise estimator with a head.

A member is one teacher, or one student; all members of a network are trained at once and do not
mix. Inputs and outputs have shape (S, B, d): S members, B inputs of each.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from diffusion.denoisers import Estimate
from sampling.noise_estimator import NoiseEstimator

Prediction = Literal["x_0", "v"]
"""What a network's last layer says; both are turned into an estimate of x_0."""
Level = float | Tensor
"""alpha or sigma: one number, or a tensor that broadcasts against (S, B, 1)."""

FREQUENCIES = 4


class X0Network(nn.Module):
    """x_t at a noise level -> an estimate of x_0, for S members at once."""

    def forward(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """x_t (S, B, d) -> estimate of x_0, (S, B, d)."""
        raise NotImplementedError

    def trainable_copy(self) -> Self:
        """A copy of its own whose parameters are trained."""
        return copy.deepcopy(self).requires_grad_(True)

    def with_zero_output(self) -> Self:
        """A copy that keeps its features and gives 0 for every input until it is trained."""
        raise NotImplementedError

    def first_member(self) -> Self:
        """A copy of the first member alone."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """Number of members S."""
        return len(next(self.parameters()))

    @classmethod
    def beside(cls, networks: Sequence[Self]) -> "X0Network":
        """Copies of all members of several networks as one network, one network after another.

        Its levels are tensors that broadcast against (S, 1, 1).
        """
        together = copy.deepcopy(networks[0])
        for weight, *own in _same_weights([together, *networks]):
            weight.data = torch.cat([one.data for one in own])
        return together

    def give_back(self, networks: Sequence["X0Network"]) -> None:
        """Copy the weights to the networks that stand side by side here, in place."""
        with torch.no_grad():
            for weight, *own in _same_weights([self, *networks]):
                for one, members in zip(own, weight.split([len(one) for one in own]), strict=True):
                    one.copy_(members)

    def share_weights(self, other: Self) -> None:
        """Train the weights of ``other`` in place of these; networks of one task need it not."""
        raise NotImplementedError


def level_features(alpha: Level, sigma: Level, like: Tensor) -> Tensor:
    """sin and cos of 1..4 times the noise level's angle atan2(sigma, alpha), (S or 1, B or 1, 8).

    Args:
        like: A tensor of the type and device that are wanted.
    """
    alpha, sigma = (
        level if isinstance(level, Tensor) else like.new_full((1, 1, 1), level)
        for level in (alpha, sigma)
    )
    waves = torch.atan2(sigma, alpha) * torch.arange(1, FREQUENCIES + 1, device=like.device)
    return torch.cat([waves.sin(), waves.cos()], dim=-1)


def _same_weights(networks: Sequence[nn.Module]) -> Iterator[tuple[nn.Parameter, ...]]:
    """Weight by weight, those of every network."""
    return zip(*(network.parameters() for network in networks), strict=True)


def per_member(levels: Sequence[Level], networks: Sequence[X0Network]) -> Tensor:
    """One level per network, a number, for all members of networks side by side, (S, 1, 1)."""
    like = next(networks[0].parameters())
    counts = torch.tensor([network.count for network in networks], device=like.device)
    values = torch.tensor(levels, dtype=like.dtype, device=like.device)
    return values.repeat_interleave(counts)[:, None, None]


class MLPs(X0Network):
    """S multi-layer perceptrons of x_t and its noise level, with SiLU between the layers."""

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        prediction: Prediction,
        generators: Sequence[torch.Generator],
    ) -> None:
        """Weights of member m are drawn from ``generators[m]``; biases are 0.

        The hidden layers keep the variance of what passes through them (He et al. 2015,
        arXiv:1502.01852, eq. 10); the last one, which has no activation behind it, has half that.
        """
        super().__init__()
        self.prediction: Prediction = prediction
        sizes = [dim + 2 * FREQUENCIES, *[width] * depth, dim]
        weights, biases = [], []
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            scale = math.sqrt((2 if layer < depth else 1) / inputs)
            drawn = [torch.randn(inputs, outputs, generator=generator) for generator in generators]
            weights.append(nn.Parameter(scale * torch.stack(drawn)))  # (S, inputs, outputs)
            biases.append(nn.Parameter(torch.zeros(len(drawn), 1, outputs)))  # (S, 1, outputs)
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def forward(
        self, x_t: Tensor, alpha: Level, sigma: Level, shift: Tensor | float = 0.0
    ) -> Tensor:
        """x_t (S, B, d) -> estimate of x_0, (S, B, d).

        Args:
            shift: Added to what enters the first hidden layer, (S, 1, width).
        """
        dim = x_t.shape[-1]
        # The level is the same for all inputs of a student, so it enters as a part of the bias.
        level = level_features(alpha, sigma, x_t) @ self.weights[0][:, dim:]
        output = torch.baddbmm(self.biases[0] + level + shift, x_t, self.weights[0][:, :dim])
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            output = torch.baddbmm(bias, nn.functional.silu(output), weight)
        return output if self.prediction == "x_0" else alpha * x_t - sigma * output

    def with_zero_output(self) -> Self:
        """A copy that keeps its hidden layers and gives 0 until it is trained."""
        zeroed = copy.deepcopy(self)
        zeroed.prediction = "x_0"
        with torch.no_grad():
            zeroed.weights[-1].zero_()
            zeroed.biases[-1].zero_()
        return zeroed

    def first_member(self) -> Self:
        """A copy of the first member alone."""
        alone = copy.deepcopy(self)
        for layers in (alone.weights, alone.biases):
            for layer in layers:
                layer.data = layer.data[:1].clone()
        return alone

    def repeated(self, count: int) -> Self:
        """Every member ``count`` times in a row, as S * count members."""
        repeated = copy.deepcopy(self)
        for layers in (repeated.weights, repeated.biases):
            for layer in layers:
                layer.data = layer.data.repeat_interleave(count, dim=0)
        return repeated


class HeadedEstimator(nn.Module):
    """The noise estimator's x_0, plus a linear head that is free at every noise level.

        x_0 = estimator + U sqrt(lam) (H features + G whitened),  H = G = 0 at first

    At alpha = 0 the estimator gives the mean of the data whatever its weights are, so by itself
    it could not learn a jump from pure noise. U, lam and the whitened input are the estimator's
    own, features are what its last layer reads.
    """

    def __init__(self, estimator: NoiseEstimator) -> None:
        super().__init__()
        self.estimator = copy.deepcopy(estimator).eval()
        width, dim = estimator.mlp.read_out.in_features, len(estimator.mean)
        self.from_features = nn.Parameter(torch.zeros(width, dim))  # H transposed
        self.from_whitened = nn.Parameter(torch.zeros(dim, dim))  # G transposed
        self.head_only = False

    def forward(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """x_t (B, d) -> estimate of x_0, (B, d); alpha and sigma are numbers or (1, 1)."""
        own, read = self.estimator, []
        layer = own.mlp.read_out
        estimate: Callable[..., Estimate] = own if isinstance(alpha, Tensor) else own.denoise
        with layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])):
            x_0 = estimate(x_t, alpha, sigma).x_0
        noised = alpha**2 * own.spread + sigma**2
        whitened = (x_t - alpha * own.centre) @ own.basis * noised.rsqrt()
        head = read[0] @ self.from_features + whitened @ self.from_whitened
        change = (own.spread.sqrt() * head) @ own.basis.T
        return change if self.head_only else x_0 + change


class HeadedEstimators(X0Network):
    """S noise estimators with heads."""

    def __init__(self, estimator: NoiseEstimator, count: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(HeadedEstimator(estimator) for _ in range(count))

    def forward(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """x_t (S, B, d) -> estimate of x_0, (S, B, d); alpha and sigma are numbers."""
        rows = zip(self.members, x_t, strict=True)
        return torch.stack([member(row, alpha, sigma) for member, row in rows])

    def with_zero_output(self) -> Self:
        """A copy that keeps the estimators' features and gives 0 until it is trained."""
        zeroed = copy.deepcopy(self)
        for member in zeroed.members:
            assert isinstance(member, HeadedEstimator)
            member.head_only = True
        return zeroed

    def first_member(self) -> Self:
        """A copy of the first member alone."""
        alone = copy.copy(self)
        alone._modules = {"members": nn.ModuleList([copy.deepcopy(self.members[0])])}
        return alone

    @property
    def count(self) -> int:
        """Number of members S."""
        return len(self.members)

    @classmethod
    def beside(cls, networks: Sequence[Self]) -> X0Network:
        """Copies of all members of several networks as one network, one network after another."""
        return EstimatorsAtOnce([one for network in networks for one in network.members])


class EstimatorsAtOnce(X0Network):
    """Copies of estimators with heads whose matrix products are batched over the members.

    A GPU launches as many kernels for all of them as for one.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = [name for name, _ in members[0].named_parameters()]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([one.detach() for one in own]), own[0].requires_grad)
            for own in _same_weights(members)
        )
        # In a tuple, so that its weights are none of this network's. Members share all else.
        self.one = (copy.deepcopy(members[0]),)

    def forward(self, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """x_t (S, B, d) -> estimate of x_0, (S, B, d); alpha and sigma are (S, 1, 1)."""

        def of_member(weights: dict[str, Tensor], *inputs: Level) -> Tensor:
            estimate: Tensor = functional_call(self.one[0], weights, inputs)
            return estimate

        weights = dict(zip(self.names, self.weights, strict=True))
        estimates: Tensor = vmap(of_member)(weights, x_t, alpha, sigma)
        return estimates

    def give_back(self, networks: Sequence[X0Network]) -> None:
        """Copy the weights to the networks that stand side by side here, in place."""
        members: list[nn.Module] = []
        for network in networks:
            assert isinstance(network, HeadedEstimators)  # these are copies of its members
            members += network.members
        with torch.no_grad():
            for weights, own in zip(self.weights, _same_weights(members), strict=True):
                for weight, one in zip(weights, own, strict=True):
                    one.copy_(weight)
