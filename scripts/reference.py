"""The command-line reference in Markdown, from the docstrings and configs of the commands."""

import ast
import inspect
import itertools
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from textwrap import dedent
from typing import Literal, Union, get_args, get_origin, get_type_hints

from experiment.flags import flag
from scripts.commands import COMMANDS, config_of, documentation, summary
from vae.config import DEFAULT_CACHE

PLACEHOLDERS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
INTRODUCTION = """\
# Command-line reference

`mergelab write_cli_reference` writes this page from the configs; do not edit it.

Every command shows its flags with `--help`. A mistake ends with one line on stderr and exit status
2, an interruption with status 130. What was computed is kept, and the same command resumes there.
"""


def cli_reference() -> str:
    """All commands, the list first."""
    listed = [f"- [`{command}`](#{command}): {summary(command)}" for command in COMMANDS]
    return "\n".join([INTRODUCTION, *listed, "", *map(section, COMMANDS)])


def section(command: str) -> str:
    """One command: what it does, an example, and a table of its flags."""
    _, _, details = documentation(command).partition("\n")
    text, heading, example, *_ = [*re.split(r"(Examples?:\n)", details, maxsplit=1), "", ""]
    rows = list(flags(config_of(command)))
    parts = [f"## {command}", summary(command), text.strip()]
    if heading:
        parts.append(f"```bash\n{dedent(example).strip()}\n```")
    if rows:
        header = "| flag | default | |\n|:---|:---|:---|\n"
        parts.append(header + "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def flags(config: type) -> Iterator[tuple[str, str, str]]:
    """Flag with its value, default and meaning, for every field."""
    hints = get_type_hints(config)
    meanings = field_docs(config)
    for field in fields(config):
        spelt = flag(field.name)
        if hints[field.name] is bool:
            spelling = f"{spelt}, --no{spelt[1:]}"
        else:
            spelling = f"{spelt} {values(hints[field.name])}"
        meaning = " ".join(meanings[field.name].split())
        yield f"`{spelling}`", _default(field), meaning


def values(hint: object) -> str:
    """The kind of value that follows a flag of this type.

    Raises:
        TypeError: no config has used this type yet.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin in (Union, types.UnionType):
        return " or ".join(values(part) for part in arguments if part is not type(None))
    if origin is tuple and arguments[1:] == (...,):
        return f"{values(arguments[0])} ..."
    if origin is tuple:
        return " ".join(map(values, arguments))
    if hint in PLACEHOLDERS:
        return PLACEHOLDERS[hint]
    raise TypeError(f"the reference does not know how to describe the type {hint}")


def _default(field: Field) -> str:
    if field.default_factory is not MISSING:
        return _shown(field.default_factory())
    return "must be given" if field.default is MISSING else _shown(field.default)


def _shown(value: object) -> str:
    if value is None or value == ():
        return "none"
    if value == DEFAULT_CACHE:  # the name of the home folder must not be printed
        return "`~/.cache/mergelab`, below `$XDG_CACHE_HOME` if set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"`{' '.join(map(str, value))}`"
    return f"`{value}`"


def field_docs(config: type) -> dict[str, str]:
    """The string under each field of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for part in reversed(config.__mro__[:-1]):
        (definition,) = ast.parse(dedent(inspect.getsource(part))).body
        inside = list(ast.iter_child_nodes(definition))
        for field, below in itertools.pairwise(inside):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    docs[name] = text
    return docs
