"""The sinusoidal time embedding of the students ([OM] App. J)."""

import torch
from torch import Tensor

EMBEDDING_DIM = 64
SQUARED_NORM = EMBEDDING_DIM / 2  # sin**2 + cos**2 = 1 for each of the 32 frequencies


def time_embedding(times: Tensor) -> Tensor:
    """Embed times t/T, (n,) -> (n, 64); every row has squared norm 32.

        emb(x) = (sin(w_1 x), cos(w_1 x), ..., sin(w_32 x), cos(w_32 x)),  w_i = 10000**(-2i/64)

    [OM] eq. 95; i runs over 1..32 there, not over the usual 0..31.
    """
    i = torch.arange(1, EMBEDDING_DIM // 2 + 1, dtype=times.dtype, device=times.device)
    angles = times[:, None] * 10_000.0 ** (-2.0 * i / EMBEDDING_DIM)  # (n, 32)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=1)


def least_norm_parameters(operators: Tensor, embeddings: Tensor) -> Tensor:
    """The smallest theta whose students are the given operators: theta = emb A / |emb|**2.

    Args:
        operators: (n, d), one row a time.
        embeddings: (n, 64).

    Returns:
        (n, d, 64), with ``theta @ emb == operators``.
    """
    return operators[:, :, None] * embeddings[:, None, :] / SQUARED_NORM
