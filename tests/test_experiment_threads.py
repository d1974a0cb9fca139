import os
import subprocess
import sys

import pytest
import torch

from experiment.threads import CHOICES, COUNTS, SPIN_COUNT, spin_shortly, use_threads

# What a command does before its work, then the threads that PyTorch and numba would take.
ASKED = """
import sys
from dataclasses import dataclass
from scripts.cli import main

@dataclass(frozen=True)
class Config:
    threads: int | None = None

def run(config):
    import numba, os, torch
    print(torch.get_num_threads(), numba.get_num_threads(), os.environ.get("GOMP_SPINCOUNT"))

main(Config, run, None)
"""


def asked(*flags: str, **environment: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if k not in (*COUNTS, *CHOICES)}
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *flags],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_threads_are_what_the_flag_says_else_the_environment_and_spin_shortly():
    assert asked("--threads", "1") == ["1", "1", "5000"]
    assert asked(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1") == ["1", "1", "5000"]
    assert asked("--threads", "1", OMP_NUM_THREADS="2", GOMP_SPINCOUNT="5") == ["1", "1", "5"]
    assert asked("--threads", "1", OMP_WAIT_POLICY="ACTIVE") == ["1", "1", "None"]


def test_a_loaded_torch_is_told_and_an_impossible_count_is_refused(monkeypatch):
    before = torch.get_num_threads()
    for name in (*COUNTS, *CHOICES):
        monkeypatch.setenv(name, "1")
    try:
        use_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    for count in (0, -1, 10**9):
        with pytest.raises(ValueError, match=f"--threads must be from 1 to .* got {count}"):
            use_threads(count)
    spin_shortly()
    assert os.environ[SPIN_COUNT] == "1"  # what the user chose


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("given", ["abc", "0", "-1", "1.5", ""])
def test_a_count_in_the_environment_that_is_none_is_told(monkeypatch, name, given):
    for count in COUNTS:
        monkeypatch.setenv(count, "1")
    use_threads(None)
    monkeypatch.setenv(name, given)
    with pytest.raises(ValueError, match=f"{name} is {given!r} in the environment, must be .*1; c"):
        use_threads(None)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP takes a number for every level
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    use_threads(None)
