"""Gradient descent of many scalar students at once; on CUDA one captured graph a step."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

WARM_UP_STEPS = 3  # before a capture, so that lazy initialisation is not captured


def fit_operators(
    theta: Tensor,
    embeddings: Tensor,
    pairs: Iterable[tuple[Tensor, Tensor]],
    lr: float,
    on_epoch: Callable[[], object],
) -> Tensor:
    """Regress M scalar students onto M scalar teachers by plain gradient descent.

        loss = mean over the batch of sum_m (theta_m.emb_m x_start_m - x_stop_m)**2

    Nothing in the loop waits for the device. A step is a dozen tiny kernels, whose launches take
    longer than their work, so on CUDA they are captured once and replayed as one.

    Args:
        theta: Initial parameters, (M, 64); left alone.
        embeddings: Time embedding of each student, (M, 64).
        pairs: x_start and x_stop of every gradient step, (B, M) each, all of one size.
        on_epoch: Called after every step was taken, or on CUDA queued.

    Returns:
        Trained parameters, (M, 64).
    """
    theta = theta.clone().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=lr)

    def step(x_start: Tensor, x_stop: Tensor) -> None:
        operator = (theta * embeddings).sum(dim=1)  # (M,)
        loss = mse_loss(operator * x_start, x_stop, reduction="sum") / len(x_start)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    take = _captured(step, theta) if theta.is_cuda else step
    for x_start, x_stop in pairs:
        take(x_start, x_stop)
        on_epoch()
    return theta.detach()


def _captured(
    step: Callable[[Tensor, Tensor], None], theta: Tensor
) -> Callable[[Tensor, Tensor], None]:
    """``step`` as a CUDA graph over buffers of its own, captured at the first call.

    A pair is copied into the buffers only where it is another than the last one, so a fixed batch
    stays where it is.
    """
    graph = torch.cuda.CUDAGraph()
    buffers: tuple[Tensor, Tensor] | None = None
    last: tuple[Tensor, Tensor] | None = None

    def take(x_start: Tensor, x_stop: Tensor) -> None:
        nonlocal buffers, last
        if buffers is None:
            buffers = x_start.clone(), x_stop.clone()
            _capture(graph, step, buffers, theta)
        elif last is None or x_start is not last[0] or x_stop is not last[1]:
            for buffer, batch in zip(buffers, (x_start, x_stop), strict=True):
                buffer.copy_(batch)
        last = x_start, x_stop
        graph.replay()

    return take


def _capture(
    graph: torch.cuda.CUDAGraph,
    step: Callable[[Tensor, Tensor], None],
    buffers: tuple[Tensor, Tensor],
    theta: Tensor,
) -> None:
    """Warm up on a side stream, take those steps back, capture ("CUDA semantics", PyTorch docs)."""
    initial = theta.detach().clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step(*buffers)
    torch.cuda.current_stream().wait_stream(side)
    with torch.no_grad():
        theta.copy_(initial)
    theta.grad = None  # so that the graph owns the gradient's memory
    with torch.cuda.graph(graph):
        step(*buffers)
