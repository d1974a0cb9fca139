"""CPU threads of a command; to be decided before PyTorch or numba is imported.

On a busy machine a second thread of PyTorch made a short gradient step up to ten times slower: by
default a thread that waits for another one spins, and so takes the core which the other one needs.
With the passive wait policy it sleeps instead. That costs an idle machine nothing that can be
measured (``benchmarks/bench_threads.py``), and the number of threads, and so every bit of a result,
does not depend on what else the machine does.
"""

import os
import sys

WAIT_POLICY = "OMP_WAIT_POLICY"
COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def wait_passively() -> None:
    """Let threads that wait sleep, unless the user has chosen another policy."""
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")


def use_threads(count: int | None) -> None:
    """Compute with so many threads, here and in processes that this one starts.

    Args:
        count: None keeps what the environment says, by default one thread per core.

    Raises:
        ValueError: the machine has fewer cores, or the count is below 1.
    """
    if count is None:
        return
    cores = os.cpu_count() or 1
    if not 1 <= count <= cores:
        raise ValueError(f"--threads must be from 1 to {cores}, the cores here, got {count}")
    for name in COUNTS:
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:  # it has read its environment already
        torch.set_num_threads(count)
