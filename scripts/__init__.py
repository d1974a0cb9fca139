"""The commands. Importing this package installs the SIGINT handler of ``scripts.interrupts``, and
tells libraries where caches lie before they are imported.
"""

import scripts.interrupts  # noqa: F401 - from the first import on
from experiment.surroundings import fall_back

NOTICE = fall_back()
"""What every command says before it begins; empty where there is a home folder."""
