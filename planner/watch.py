"""What a slow solver shows and when it stops: a progress bar with its name, and a time limit."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from experiment.progress import tqdm

Item = TypeVar("Item")

SHOWN_AFTER = 2.0  # seconds: most searches end at once, and need no bar


class Watch:
    """The clock of one run of one solver."""

    def __init__(self, solver: str = "plan", seconds: float | None = None) -> None:
        """Start the clock.

        Args:
            solver: What the progress bar is called.
            seconds: Time limit; None for none.
        """
        self.solver = solver
        self.stopped = False
        """Whether the solver stopped before its end because the time was up."""
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def time_is_up(self) -> bool:
        """Whether the time limit has passed. The solver that asks must stop then."""
        self.stopped = self.stopped or time.monotonic() > self._end
        return self.stopped

    def rounds(self, items: Iterable[Item], unit: str) -> Iterator[Item]:
        """The items, with a progress bar that shows once a solver takes long.

        Raises:
            TimeoutError: the time is up.
        """
        for item in tqdm(items, self.solver, unit=unit, delay=SHOWN_AFTER, leave=False):
            if self.time_is_up():
                raise TimeoutError(f"{self.solver} found no plan within its time limit")
            yield item
