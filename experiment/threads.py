"""CPU threads of a command; to be decided before PyTorch or numba is imported.

On a busy machine a second thread of PyTorch made a short gradient step up to 36 times slower: a
thread that waits for another one spins for a while, and so takes the core which the other one
needs. A short spin costs an idle machine nothing and saves a busy one most of the loss
(``benchmarks/README.md``).
The number of threads, and so every bit of a result, does not depend on the load of the machine.
"""

import os
import re
import sys

SPIN_COUNT = "GOMP_SPINCOUNT"
"""Environment variable of GNU OpenMP, which PyTorch uses on Linux: how long a thread spins."""
SHORT_SPIN = "5000"
CHOICES = (SPIN_COUNT, "OMP_WAIT_POLICY")
"""Environment variables by which a user chooses how threads wait."""
COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def spin_shortly() -> None:
    """Let waiting threads sleep after a short spin, unless the user has chosen how they wait."""
    if not any(name in os.environ for name in CHOICES):
        os.environ[SPIN_COUNT] = SHORT_SPIN


def use_threads(count: int | None) -> None:
    """Set the number of threads of this process and of the processes that it starts.

    Args:
        count: Number of threads. None keeps the environment's choice, by default one per core.

    Raises:
        ValueError: the machine has fewer cores, or a count, also of the environment, is no whole
            number of at least 1.
    """
    if count is None:
        for name in COUNTS:
            given = os.environ.get(name, "1")
            if not re.fullmatch(r"0*[1-9]\d*(,\d+)*", given.strip()):  # OpenMP takes lists
                raise ValueError(
                    f"{name} is {given!r} in the environment, must be a whole number of at least "
                    "1; correct or unset it"
                )
        return
    cores = os.cpu_count() or 1
    if not 1 <= count <= cores:
        raise ValueError(f"--threads must be from 1 to {cores}, the cores here, got {count}")
    for name in COUNTS:
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:  # PyTorch has read the environment already
        torch.set_num_threads(count)
