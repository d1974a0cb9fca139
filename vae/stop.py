"""When to stop between two steps: on Ctrl-C, on SIGTERM, or when the time is up."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

TIME_IS_UP = 1  # below every signal's number
_ASK_EVERY = 16  # steps between two questions to the other processes


class Stop:
    """Turns SIGINT and SIGTERM into a wish that the training loop asks for between steps.

    A second Ctrl-C interrupts at once, except under ``torchrun``, which passes the first one on
    and so doubles it.
    """

    def __init__(self, started: float, max_minutes: float | None, device: torch.device) -> None:
        """``started`` is a ``time.monotonic()``; the minutes count from it."""
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
        """Why to stop now: 0 not at all, TIME_IS_UP, or the number of the signal.

        All processes of a distributed run get the same answer at the same step; they ask one
        another every 16 steps, as each question waits for the device.
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
