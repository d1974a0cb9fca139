"""Imported once by the server that the commands of the robustness sweep are forked from."""

import importlib
import os

os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from scripts.commands import find_jobs

for job in find_jobs():
    importlib.import_module(f"scripts.{job.name}")
