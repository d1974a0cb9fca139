"""Where the jobs of a comparison are done: in this process, in local processes or in a cluster.

Local processes and the workers of a Dask cluster are executors of ``concurrent.futures``; None
stands for this process.
"""

import importlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from distill.jobs import Job, Students, Training, do_job
from experiment.surroundings import can_start_processes

CONNECT_SECONDS = 10
# A gradient step is too short for two threads to share. And with one thread the order of its
# sums, and so the students, are the same on any number of cores and machines.
THREADS = 1


def default_workers(training: Training) -> int:
    """One process per GPU for gradient steps, or on the CPU one per core; else one.

    One too where the system lets no pool of processes be made.
    """
    if training.engine == "closed_form" or not can_start_processes():
        return 1
    if training.device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    # PyTorch would take as many threads: one per core, or what OMP_NUM_THREADS says.
    return torch.get_num_threads() if training.device in ("auto", "cpu") else 1


@contextmanager
def open_executor(scheduler: str | None, workers: int, device: str) -> Iterator[Executor | None]:
    """An executor over a Dask cluster or local processes; None where one process is enough.

    An error or Ctrl-C stops the jobs that are running.

    Args:
        scheduler: Address of the cluster's scheduler; None for this machine.
        workers: Number of local processes.
        device: Device of the jobs, as ``--device`` names it.

    Raises:
        ValueError: Dask is not installed.
        OSError: the scheduler does not answer.
    """
    if scheduler is not None:
        with _open_cluster(scheduler) as executor:
            yield executor
    elif workers > 1:
        with _open_processes(workers, device) as executor:
            yield executor
    else:
        yield None


def do_jobs(
    training: Training,
    jobs: Sequence[Job],
    executor: Executor | None,
    on_step: Callable[[], object],
) -> Iterator[tuple[Job, Students]]:
    """Do all jobs; yields each with its students as soon as they are trained, in any order.

    Args:
        on_step: Called after each gradient step that this process takes itself.

    Raises:
        ChildProcessError: a local worker died.
        FileNotFoundError, ValueError: the latents are missing where a job is done, or differ.
        FloatingPointError: a student stopped being finite.
    """
    if executor is None:
        for job in jobs:
            with one_thread():
                students = do_job(training, job, on_step)
            yield job, students
        return
    longest_first = sorted(jobs, key=lambda job: job.sequential_steps, reverse=True)
    try:
        pending = {executor.submit(_do_in_worker, training, job): job for job in longest_first}
        for future in as_completed(pending):
            yield pending[future], future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process ended early, perhaps because memory ran out; finished students are "
            "kept, and the same command again trains the rest (with --workers 1, in one process)"
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Train as workers do, with ``THREADS``; then as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _do_in_worker(training: Training, job: Job) -> Students:
    torch.set_num_threads(THREADS)
    return do_job(training, job)


@contextmanager
def _open_processes(workers: int, device: str) -> Iterator[Executor]:
    if not can_start_processes():
        raise OSError("/dev/shm: cannot be written, so no processes can be started; --workers 1")
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    executor = ProcessPoolExecutor(workers, context, _start_worker, (numbers, device))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        executor.shutdown()


def _start_worker(numbers: "multiprocessing.SimpleQueue[int]", device: str) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored in a script's background
        # Ctrl-C reaches the workers too, and must not print a traceback for each.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    number = numbers.get()
    if device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        torch.cuda.set_device(number % torch.cuda.device_count())  # this worker's "cuda"


@contextmanager
def _open_cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "--scheduler needs Dask: python -m pip install 'mergelab[cluster]'"
        ) from error
    with Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        # Where only the wheel is installed, mergelab puts our packages on the path. The scheduler
        # unpickles tasks too.
        client.run(importlib.import_module, "mergelab")
        client.run_on_scheduler(importlib.import_module, "mergelab")
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)  # stops jobs that still run
