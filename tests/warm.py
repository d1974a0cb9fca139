"""Imported once by the server that the commands of the robustness sweep are forked from."""

import importlib
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from scripts.commands import COMMANDS

ROOT = Path(__file__).parents[1]
# The commands import their work when they run; here all of it is imported beforehand.
for package in ("distill", "report", "sampling", "vae"):
    for module in sorted((ROOT / package).glob("[a-z]*.py")):
        importlib.import_module(f"{package}.{module.stem}")
for command in (*COMMANDS, "health", "reference"):
    importlib.import_module(f"scripts.{command}")
