"""Imported once by the server that the commands of the robustness sweep are forked from."""

import contextlib
import functools
import gc
import importlib
import io
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import matplotlib
import numpy as np
import torch
import torch._dynamo  # which every optimizer imports when it is made: a second and a half
import tyro
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.mathtext import MathTextParser
from PIL import Image

import neural.mixture
import report.faces
import report.plot_theory
import report.sampler_theory
import report.style
import report.theory_figures
import sampling.compare_samplers
from planner.fronts import undominated
from scripts.commands import COMMANDS, config_of

ROOT = Path(__file__).parents[1]
# The commands import their work when they run; here all of it is imported beforehand.
for package in ("distill", "explorer", "neural", "report", "sampling", "vae"):
    for module in sorted((ROOT / package).glob("[a-z]*.py")):
        importlib.import_module(f"{package}.{module.stem}")
for command in (*COMMANDS, "health", "reference"):
    importlib.import_module(f"scripts.{command}")

# Pictures are drawn by the same code as ever, only smaller: a sweep draws some thousand of them.
# Nor are they laid out: what lies where is no matter of faults, and takes a third of their time.
report.style.STYLE |= {"savefig.dpi": 25, "savefig.bbox": None}
ConstrainedLayoutEngine.execute = lambda self, figure: None
report.faces.DPI = 25
report.plot_theory.SWEEPS[1:] = []
neural.mixture.POINTS, neural.mixture.REACHES = 201, neural.mixture.REACHES[:1]
report.theory_figures.RESOLUTION = 40
report.theory_figures.CASE_VARIANCES = report.theory_figures.CASE_VARIANCES[::8]
report.theory_figures.CASE_TIMES = report.theory_figures.CASE_TIMES[::8]
report.theory_figures.TRAIN_TIMES = report.theory_figures.TRAIN_TIMES[::10]
report.sampler_theory.ORDER_STEPS = report.sampler_theory.ORDER_STEPS[:4]
report.sampler_theory.MARGINAL_STEPS = report.sampler_theory.MARGINAL_STEPS[:4]
sampling.compare_samplers.MARGIN_COUNT = 100

# numba's compiler (a second for each process), the exporter of programs, the plugins of Pillow, the
# parser of flags, and the fonts and the parser of formulas load with their first use. Parallel
# kernels, and gradients, would start threads here: they wait.
undominated(np.ones(1))((1, 1), np.ones((1, 1)))
torch.export.export(torch.nn.Identity(), (torch.ones(2),))
Image.init()
for command in COMMANDS:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        tyro.cli(config_of(command), args=["--help"])
# The labels of ticks are formulas, of which Matplotlib remembers the last fifty.
MathTextParser._parse_cached = functools.lru_cache(None)(MathTextParser._parse_cached.__wrapped__)
with matplotlib.rc_context(report.style.STYLE):
    figure = Figure()
    panel = figure.subplots()
    panel.set_title("$\\lambda_0^2$")
    panel.set_yscale("log")
    panel.set_yticks(10.0 ** np.arange(-20, 5))
    for kind in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=kind)

# Garbage collection in a forked process would touch, and so copy, every page of what is here.
gc.collect()
gc.freeze()
