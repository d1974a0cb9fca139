"""The list of commands, and where each is started from."""

import ast
import difflib
import importlib
import runpy
import sys
from pathlib import Path
from typing import Any, get_type_hints

from experiment.terminal import printing

# In the order in which a user meets them. Each is a module of this package.
COMMANDS = (
    "compare_strategies",
    "decode_grids",
    "export_student",
    "plan_merges",
    "simulate_students",
    "study_convergence",
    "distill_neural",
    "explore",
    "plot_theory",
    "plot_mixture",
    "plot_samplers",
    "sample_faces",
    "compare_samplers",
    "check_data",
    "pretrain_vae",
    "encode_latents",
    "compare_vaes",
    "train_noise_estimator",
    "compare_operators",
    "compare_runs",
    "doctor",
    "write_cli_reference",
)


def documentation(command: str) -> str:
    """The docstring of a command, read without importing the module."""
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def summary(command: str) -> str:
    """What the command does, in one line."""
    return documentation(command).partition("\n")[0]


def config_of(command: str) -> type[Any]:
    """The dataclass that the flags of the command fill."""
    run = importlib.import_module(f"scripts.{command}").run
    config: type[Any] = get_type_hints(run)["config"]
    return config


def listing() -> str:
    """All commands, each with its one line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {command:{width}}  {summary(command)}" for command in COMMANDS]
    usage = "mergelab COMMAND --help shows the flags of a command; docs/cli.md documents them all."
    return "\n".join(["Commands of mergelab:", "", *lines, "", usage])


def start(arguments: list[str]) -> None:
    """Run the command that the first argument names, with the others; list all without any.

    Raises:
        SystemExit: with status 2 where no such command exists.
    """
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        with printing():
            print(listing())
        return
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else "mergelab --help lists the commands"
        print(f"error: {command}: no such command; {hint}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [command, *rest]
    # Runs the module as a script, so that processes which it spawns find their main module.
    runpy.run_module(f"scripts.{command}", run_name="__main__", alter_sys=True)
