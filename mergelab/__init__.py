"""mergelab: diffusion trajectory distillation in a VAE latent space.

From Python, in a notebook or a program:

    import mergelab as ml

    plans = ml.plan(latents)  # (N, ...), or the variances of the coordinates, (d,)
    plans.table()             # every strategy and its error, from best to worst
    trained = plans.train()   # its students, measured beside predicted
    samples = trained.sample(noise)

The packages (``planner``, ``distill``, ...) lie inside this folder in an installed wheel and beside
it in a checkout. They are imported by their bare names. Importing ``mergelab`` puts the folder that
holds them first on the path, so a folder ``vae`` or ``scripts`` of another project, wherever it
lies, does not hide them. For the same reason the modules in this folder begin with ``_``: in a
wheel they lie on the path too, and must not hide modules of others.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergelab._plans import MergePlans, load, plan
    from mergelab._students import TrainedStudents
    from mergelab._table import Table

_HERE = Path(__file__).resolve().parent
_HOME = _HERE if (_HERE / "planner").is_dir() else _HERE.parent
if sys.path[:1] != [str(_HOME)]:
    sys.path.insert(0, str(_HOME))

__all__ = ["MergePlans", "Table", "TrainedStudents", "load", "plan"]
_MODULES = {
    "MergePlans": "_plans",
    "Table": "_table",
    "TrainedStudents": "_students",
    "load": "_plans",
    "plan": "_plans",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for: ``import mergelab`` alone imports nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
