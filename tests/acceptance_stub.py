"""Stages that end in every way, in place of ``benchmarks.gpu_stages``."""

import json
import subprocess
import sys
import time
from pathlib import Path


def run(stage: str, found: Path, *_: object) -> None:
    """End as the stage's name says."""
    gates = {"fast": stage != "slow"}
    found.write_text(json.dumps({"numbers": {"speed": 1.5}, "gates": gates}))
    if stage == "broken":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if stage == "hanging":
        subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(60)  # {found}"])
        time.sleep(60)
