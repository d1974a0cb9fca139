"""Stopping between two gradient steps: on Ctrl-C, on SIGTERM, or after a time limit."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

TIME_IS_UP = 1  # lower than the number of every signal
_ASK_EVERY = 16  # steps between two exchanges with the other processes


class Stop:
    """Records SIGINT and SIGTERM, so that the training loop can stop between two steps.

    A second Ctrl-C interrupts at once, except under ``torchrun``, which forwards the first one, so
    each process receives it twice.
    """

    def __init__(self, started: float, max_minutes: float | None, device: torch.device) -> None:
        """``started`` is a ``time.monotonic()`` from which the minutes count."""
        self._deadline = None if max_minutes is None else started + 60.0 * max_minutes
        self._signal = 0
        self._device = device
        self._world = dist.get_world_size() if dist.is_initialized() else 1
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT and self._world == 1:
            raise KeyboardInterrupt
        self._signal = number

    def asked(self, step: int) -> int:
        """The reason to stop now: 0 (none), TIME_IS_UP, or the number of the signal.

        All processes of a distributed run get the same answer at the same step. They exchange it
        every 16 steps only, because each exchange waits for the device.
        """
        up = self._deadline is not None and time.monotonic() >= self._deadline
        reason = self._signal or (TIME_IS_UP if up else 0)
        if self._world == 1:
            return reason
        if step % _ASK_EVERY:
            return 0
        answer = torch.tensor(reason, device=self._device)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return int(answer)
