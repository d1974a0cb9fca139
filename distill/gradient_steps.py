"""Gradient steps of scalar students: by autograd, and on CUDA with the gradient written out.

M students are trained at once. Student m predicts c_m x with c_m = theta_m.emb_m, and its loss is
the mean over the batch of (c_m x_start - x_stop)**2. On CUDA the four kernels of a step take less
time than their launches. There the steps are captured once per size as a CUDA graph and replayed.
"""

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss

Pair = tuple[Tensor, Tensor]
"""x_start and x_stop of a gradient step, (B, M) each."""

EMBEDDING_DIM = 64
WARM_UP_STEPS = 3  # before a CUDA capture, so that no lazy initialisation is captured
# A capture waits for the device and empties the allocator's cache; it costs some 200 eager steps.
WORTH_A_CAPTURE = 200
LEAST_WIDTH = 32
# Capturing is a state of the process: a second thread would break it, and share the buffers.
_ONE_AT_A_TIME = threading.Lock()


def fit_operators(
    theta: Tensor,
    embeddings: Tensor,
    pairs: Iterable[Pair],
    lr: float,
    on_step: Callable[[], object],
) -> Tensor:
    """Regress M scalar students onto M scalar teachers by plain gradient descent.

        loss = mean over the batch of sum_m (theta_m.emb_m x_start_m - x_stop_m)**2

    Args:
        theta: Initial parameters, (M, 64); they are not changed.
        embeddings: Time embedding of each student, (M, 64).
        pairs: x_start and x_stop of every gradient step, (B, M) each, all of one size.
        on_step: Called after every step.

    Returns:
        Trained parameters, (M, 64).
    """
    theta = theta.clone().requires_grad_()
    for x_start, x_stop in pairs:
        operator = (theta * embeddings).sum(dim=1)  # (M,)
        loss = mse_loss(operator * x_start, x_stop, reduction="sum") / len(x_start)
        (gradient,) = torch.autograd.grad(loss, theta)
        with torch.no_grad():  # torch.optim.SGD, whose first use imports torch's compiler
            theta.add_(gradient, alpha=-lr)
        on_step()
    return theta.detach()


def fit_on_cuda(
    theta: Tensor,
    embeddings: Tensor,
    pairs: Iterable[Pair],
    steps: NDArray[np.int64],
    lr: float,
    on_step: Callable[[], object],
) -> Tensor:
    """``fit_operators`` on a CUDA device, where students may take different numbers of steps.

    Nothing in the loop waits for the device. One call at a time runs in a process.

    Args:
        pairs: As many as the largest number of steps. A pair that is the last one again is not
            copied again.
        steps: Gradient steps of each student, (M,). A student that took its steps rests.
        on_step: Called after every step was queued.

    Returns:
        Trained parameters, (M, 64).
    """
    buffers: _Buffers | None = None
    last: Pair | None = None
    ends = set(steps.tolist())
    with _ONE_AT_A_TIME, torch.cuda.device(theta.device):
        for taken, (x_start, x_stop) in enumerate(pairs, start=1):
            if buffers is None:
                width = max(LEAST_WIDTH, 1 << (len(theta) - 1).bit_length())  # few sizes, so
                buffers = _buffers(theta.device, theta.dtype, len(x_start), width)  # few captures
                buffers.load(theta, embeddings, steps, rate=2.0 * lr / len(x_start))
            if last is None or x_start is not last[0] or x_stop is not last[1]:
                buffers.load_pair(x_start, x_stop)
            last = x_start, x_stop
            if taken == 1 and buffers.graph is None and steps.max() >= WORTH_A_CAPTURE:
                buffers.capture()
            buffers.take_step()
            if taken in ends:
                buffers.rest(taken)
            on_step()
        return theta.clone() if buffers is None else buffers.theta[: len(theta)].clone()


class _Buffers:
    """Tensors of up to ``width`` students on one device, and the captured step over them."""

    def __init__(
        self, device: torch.device, dtype: torch.dtype, batch_size: int, width: int
    ) -> None:
        self.theta = torch.zeros(width, EMBEDDING_DIM, device=device, dtype=dtype)
        self.embeddings, self.pull = torch.zeros_like(self.theta), torch.zeros_like(self.theta)
        self.x_start = torch.zeros(width, batch_size, device=device, dtype=dtype)
        self.x_stop = torch.zeros_like(self.x_start)
        self.steps = torch.zeros(width, 1, dtype=torch.long, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def load(
        self, theta: Tensor, embeddings: Tensor, steps: NDArray[np.int64], rate: float
    ) -> None:
        """Begin with M students; the others have parameters and inputs 0, and so stay there."""
        for buffer in (self.theta, self.embeddings, self.pull, self.x_start, self.x_stop):
            buffer[len(theta) :] = 0.0
        self.theta[: len(theta)] = theta
        self.embeddings[: len(theta)] = embeddings
        self.pull[: len(theta)] = rate * embeddings
        self.steps[: len(theta), 0] = torch.from_numpy(steps).to(self.steps.device)

    def load_pair(self, x_start: Tensor, x_stop: Tensor) -> None:
        """Set the batch of the steps that follow, (B, M) each."""
        self.x_start[: x_start.shape[1]] = x_start.T
        self.x_stop[: x_stop.shape[1]] = x_stop.T

    def rest(self, taken: int) -> None:
        """Train no more the students that were to take ``taken`` steps."""
        self.pull *= self.steps > taken

    def step(self) -> None:
        """theta += rate * sum over the batch of (x_stop - c x_start) x_start * emb.

        With rate = 2 lr / B this is theta -= lr * gradient of the loss.
        """
        operator = torch.bmm(self.theta[:, None], self.embeddings[:, :, None])[:, 0]  # (width, 1)
        missing = torch.addcmul(self.x_stop, operator, self.x_start, value=-1.0)  # (width, B)
        slope = torch.bmm(missing[:, None], self.x_start[:, :, None])[:, 0]  # (width, 1)
        self.theta.addcmul_(slope, self.pull)

    def take_step(self) -> None:
        """Take a step: replayed where it was captured."""
        if self.graph is None:
            self.step()
        else:
            self.graph.replay()

    def capture(self) -> None:
        """Warm up on a side stream, undo those steps, then capture on the same stream.

        As in "CUDA semantics" of the PyTorch documentation. The stream is the device's own, because
        the default one for captures is one per process and belongs to the device that was first.
        """
        initial = self.theta.clone()
        current, side = torch.cuda.current_stream(), torch.cuda.Stream(self.theta.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.step()
        current.wait_stream(side)
        self.theta.copy_(initial)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile, as the workers of a Dask cluster do.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            self.step()
        self.graph = graph


@lru_cache(maxsize=16)
def _buffers(device: torch.device, dtype: torch.dtype, batch_size: int, width: int) -> _Buffers:
    """The buffers of a size, kept with their captured step until the process ends."""
    return _Buffers(device, dtype, batch_size, width)
