"""Run a pretraining in forked processes, killed with SIGKILL again and again until one finishes.

Usage: python -m tests.resume_driver DATA CACHE OUT SEED KILLS; prints one line a kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from vae.config import PretrainConfig
from vae.pretrain_vae import pretrain_vae


def config(data: Path, cache: Path, out: Path) -> PretrainConfig:
    return PretrainConfig(
        data=data,
        out=out,
        cache=cache,
        epochs=3,
        batch_size=8,
        image_size=32,
        save_seconds=0,
        keep=2,
        device="cpu",
        precision="float32",
    )


def main(data: Path, cache: Path, out: Path, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    for attempt in range(kills + 1):
        child = os.fork()
        if child == 0:
            pretrain_vae(config(data, cache, out))
            os._exit(0)
        if attempt < kills:
            if attempt % 2 == 0:  # while a file is being written; the first time there is one
                writing = watch_for_write(out, child)
            else:
                time.sleep(rng.uniform(0.1, 0.8))
                writing = False
            os.kill(child, signal.SIGKILL)
            print("killed", "in a write" if writing else "at random", flush=True)
        status = os.waitpid(child, 0)[1]
    raise SystemExit(os.waitstatus_to_exitcode(status))


def watch_for_write(out: Path, child: int) -> bool:
    """Wait for a checkpoint's temporary file, or for the end of the child."""
    folder = out / "checkpoints"
    before = set(folder.glob(".*.tmp"))
    while True:
        if set(folder.glob(".*.tmp")) - before:
            return True
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]), int(sys.argv[5]))
