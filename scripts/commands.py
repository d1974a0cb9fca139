"""The jobs in this folder: modules that hand a config to ``scripts.cli.main`` when run."""

import ast
import importlib
import itertools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One command, ``python -m scripts.NAME``."""

    name: str
    doc: str  # the module's docstring
    config_name: str  # of the dataclass that its flags fill, as the module calls it

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return self.doc.partition("\n")[0]

    def config(self) -> type:
        """The dataclass that its flags fill; imports the job."""
        found: type = getattr(importlib.import_module(f"scripts.{self.name}"), self.config_name)
        return found


def find_jobs() -> list[Job]:
    """All jobs by name, found by reading their source: nothing heavy is imported."""
    jobs = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        config_name = _config_given_to_main(module)
        if config_name is not None:
            jobs.append(Job(path.stem, ast.get_docstring(module) or "", config_name))
    return jobs


def _config_given_to_main(module: ast.Module) -> str | None:
    """NAME in ``main(NAME, ...)`` at the end of a script, below its ``if __name__``."""
    guarded = [part for part in module.body if isinstance(part, ast.If)]
    for node in itertools.chain.from_iterable(map(ast.walk, guarded)):
        match node:
            case ast.Call(func=ast.Name(id="main"), args=[ast.Name(id=name), *_]):
                return name
    return None
