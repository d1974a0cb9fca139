"""mergelab: diffusion trajectory distillation in a VAE latent space.

The packages (``planner``, ``distill``, ...) lie inside this folder in an installed wheel and beside
it in a checkout. They are imported by their bare names. Importing ``mergelab`` puts the folder that
holds them first on the path, so a folder ``vae`` or ``scripts`` of another project, wherever it
lies, does not hide them.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_HOME = _HERE if (_HERE / "planner").is_dir() else _HERE.parent
if sys.path[:1] != [str(_HOME)]:
    sys.path.insert(0, str(_HOME))
